import { sign } from 'node:crypto'
import { appendFileSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { type IncomingMessage } from 'node:http'
import { get } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { newId } from '../../gateway/core/id.ts'
import { openKeys } from '../../gateway/identity/keys.ts'
import { Tokens } from '../../gateway/identity/tokens.ts'
import { markFile } from '../../gateway/recording/mark.ts'
import { openRecordings } from '../../gateway/recording/recordings.ts'
import { ledgerHeadRow } from '../../gateway/store/ledger-head.ts'
import { openStore } from '../../gateway/store/open.ts'
import { identity, quiet, recordSession } from '../recording/folder.ts'
import { secrets } from '../demo/shop.ts'
import { executable, startGatewayProcess } from '../servers/gateway.ts'
import { type SeparateGateway, type Stack, connect, eventually, run, startSeparateStack } from './stack.ts'

const dayMs = 86_400_000
const today = Date.now()
const daysAgo = (days: number): number => today - days * dayMs
const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10)

let stack: Stack<SeparateGateway>
let recordings: string
/** Sessions by how many days ago they were. */
const past = new Map<number, string[]>([
  [100, [newId('ses'), newId('ses')]],
  [99, [newId('ses')]],
  [98, Array.from({ length: 150 }, () => newId('ses'))],
  [20, [newId('ses')]],
])
const [oldest = ''] = past.get(100) ?? []
const [kept = ''] = past.get(20) ?? []

beforeAll(async () => {
  stack = await startSeparateStack({
    edit: (yaml) => yaml.replace('  data: ./data', '  data: ./data\n  retention: 30d'),
    prepare: recordThePast,
  })
  recordings = join(stack.data, 'recordings')
})
afterAll(() => stack.close())

/** What a gateway on these data did long ago, by its own recorder and store with the time of then. */
async function recordThePast(data: string): Promise<void> {
  const keys = await openKeys(data, { trustDomain: 'shop.example' })
  const { recording } = keys
  const store = await openStore(join(data, 'hoop.db'))
  for (const [days, sessions] of past) {
    vi.useFakeTimers({ now: daysAgo(days), toFake: ['Date'] })
    const { kid } = recording
    const recorder = await openRecordings({
      dir: join(data, 'recordings'),
      keys: {
        kid,
        sign: (bytes) => sign(null, bytes, recording.privateKey),
        publicJwk: recording.publicKey.export({ format: 'jwk' }),
      },
      places: [markFile(join(data, 'ledger.head')), ledgerHeadRow(store, kid)],
      log: quiet,
    })
    recorder.note(identity)
    const at = Date.now()
    const tokens = new Tokens(keys, () => 'https://localhost', Date.now)
    const whole = new Map([['orders-db', null]])
    const about = { id: 'idn_a', parent: null, stage: 'deploy', thumbprint: 'tp', connections: whole }
    const statement = await tokens.state(about)
    for (const id of sessions) {
      await recordSession(recorder, id, 3, statement)
      const counts = { allowed: 3, held: 0, denied: 0, masked: 0 }
      const whose = { identity: 'idn_a', root: 'idn_a', stage: 'deploy' }
      const what = { connection: 'orders-db', protocol: 'postgres', end: 'client left' }
      await store.db
        .insertInto('sessions')
        .values({ id, ...whose, ...what, started_at: at, ended_at: at + 1, ...counts })
        .execute()
    }
    await recorder.close('stopped')
    vi.useRealTimers()
  }
  await store.close()
}

const audit = (...args: string[]) => run(process.execPath, [executable, 'audit', 'verify', ...args], {})
const gone = (days: number): boolean => !existsSync(join(recordings, dayOf(daysAgo(days))))

/** How many recordings of a day are there. */
const left = (days: number): number =>
  gone(days) ? 0 : readdirSync(join(recordings, dayOf(daysAgo(days)))).length

test('killed while it removes, a gateway has said all that is gone, and goes on at its next start', async () => {
  for (let round = 0; round < 3 && left(98) > 0; round++) {
    const before = left(98)
    // As early as can be seen from outside that it has begun.
    while (left(98) === before) await new Promise((resolve) => setImmediate(resolve))
    await stack.gateway.process.stop('SIGKILL')
    const { code, out } = await audit('--config', stack.config)
    expect(out).toContain('✓ whole')
    if (left(98) > 0) expect(out).toContain(`interrupted: ${left(98)} of them are still there`)
    expect(code).toBe(0)
    stack.gateway.process = await startGatewayProcess(stack.config, secrets)
  }
})

test('a gateway that starts removes what is too old, and everything says so', async () => {
  await eventually(async () => {
    expect([gone(100), gone(99), gone(98), gone(20)]).toEqual([true, true, true, false])
    const listed = JSON.parse((await stack.operator('sessions', 'list', '--json')).out)
    expect(listed.map(({ id }: { id: string }) => id)).toEqual([kept])
  })
  // By the folder, by hoop.yaml, and over the API.
  for (const args of [[recordings], ['--config', stack.config]]) {
    const { code, out } = await audit(...args)
    expect(out).toContain(`2 sessions of ${dayOf(daysAgo(100))} removed by retention on ${dayOf(Date.now())}`)
    expect(out).toContain(`1 session of ${dayOf(daysAgo(99))} removed by retention`)
    expect(out).toContain('✓ whole: 1 recordings')
    expect(code).toBe(0)
  }
  const fetched = await stack.operator('audit', 'verify', stack.url)
  expect(fetched.out).toContain(`2 sessions of ${dayOf(daysAgo(100))} removed by retention`)
  expect(fetched.code).toBe(0)

  const shown = await stack.operator('sessions', 'show', oldest)
  expect(shown.code).not.toBe(0)
  expect(shown.out + shown.err).toContain('removed by retention (sessions are kept for 30d)')
  expect((await stack.operator('sessions', 'replay', oldest)).code).not.toBe(0)
  expect((await stack.operator('sessions', 'replay', kept)).code).toBe(0)
})

test('sessions of today are recorded and kept, across starts', async () => {
  const job = await stack.open('test')
  const client = await connect(job)
  client.on('error', () => undefined)
  await client.query('SELECT 1 AS one')
  await stack.gateway.restart('SIGKILL')
  const files = (): ReadonlySet<string> => new Set(readdirSync(recordings, { recursive: true }).map(String))
  const before = files()
  await stack.gateway.restart()
  expect(files()).toEqual(before)
  expect(gone(0)).toBe(false)
  expect(await stack.operator('audit', 'verify')).toMatchObject({ code: 0 })
})

test('a recording that was changed keeps its day, which the log and the metrics say; made whole again it goes', async () => {
  const path = join(recordings, dayOf(daysAgo(20)), `${kept}.jsonl`)
  const whole = await readFile(path)
  const yaml = await readFile(stack.config, 'utf8')
  await writeFile(stack.config, yaml.replace('retention: 30d', 'retention: 10d'))
  await stack.gateway.restart('SIGTERM', () => appendFileSync(path, '{"seq":99}\n'))
  await eventually(async () => expect(await metrics()).toContain('hoop_retention_days_overdue 1'))
  expect(stack.gateway.process.log()).toContain('recordings are older than `gateway.retention` and stay')
  expect((await stack.operator('audit', 'verify')).code).toBe(1)
  expect((await stack.operator('sessions', 'show', kept)).code).toBe(0)

  await stack.gateway.restart('SIGTERM', () => writeFileSync(path, whole))
  await eventually(async () => expect(await metrics()).toContain('hoop_recordings_removed_total 1'))
  expect(await metrics()).toContain('hoop_retention_days_overdue 0')
  expect(gone(20)).toBe(true)
  expect(await stack.operator('audit', 'verify')).toMatchObject({ code: 0 })
})

async function metrics(): Promise<string> {
  const token = (await readFile(join(stack.data, 'operator.token'), 'utf8')).trim()
  const ca = await readFile(join(stack.data, 'ca.pem'))
  const headers = { authorization: `Bearer ${token}` }
  const asked = get(new URL('/metrics', stack.url), { ca, headers, agent: false })
  return text(
    await new Promise<IncomingMessage>((answer, fail) => asked.on('response', answer).on('error', fail)),
  )
}

test('a day that somebody removes is not taken for one that the gateway removed', async () => {
  rmSync(join(recordings, dayOf(Date.now())), { recursive: true })
  for (const args of [[recordings], ['--config', stack.config]]) {
    const { code, out } = await audit(...args)
    expect(out).toMatch(/the recording of session ses_\w+ is missing/)
    expect(code).toBe(1)
  }
})
