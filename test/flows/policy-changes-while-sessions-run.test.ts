import { readFile, writeFile } from 'node:fs/promises'
import type pg from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeAuthority } from '../servers/certificates.ts'
import { lacks } from '../servers/programs.ts'
import { run } from './gateway-stack.ts'
import { nest } from './nested-stack.ts'
import {
  type Job,
  type Stack,
  connect,
  eventually,
  failure,
  startSeparateStack,
  startStack,
} from './stack.ts'

let stack: Stack
let job: Job
let client: pg.Client
beforeEach(async () => {
  stack = await startStack()
  job = await stack.open('deploy', { claims: { environment: 'production' } })
  client = await connect(job)
  client.on('error', () => undefined)
  await client.query('SELECT id FROM orders')
})
afterEach(async () => {
  await client.end().catch(() => undefined)
  await stack.close()
})

/** Changes hoop.yaml; gives it as it was. */
async function edit(
  change: (yaml: string) => string,
  { config }: { config: string } = stack,
): Promise<string> {
  const yaml = await readFile(config, 'utf8')
  const changed = change(yaml)
  expect(changed).not.toBe(yaml)
  await writeFile(config, changed)
  return yaml
}

const without = (operation: string) => (yaml: string) =>
  yaml.replace(
    '[read, insert, update]',
    `[${['read', 'insert', 'update'].filter((one) => one !== operation).join(', ')}]`,
  )

test('a session whose rules changed is cut, and the next one is decided by the new ones', async () => {
  const gone = new Promise<unknown>((resolve) => client.once('end', resolve))
  await edit(without('update'))
  const { version, before } = await stack.gateway.reload()
  expect(version).not.toBe(before)
  await gone
  const anew = await connect(job)
  const refused = await failure(anew.query('UPDATE orders SET total = 717 WHERE id = 10'))
  expect(refused).toMatchObject({ code: '42501' })
  expect(stack.postgres.log()).not.toContain('total = 717')
  await anew.end()
  const ends = await eventually(async () => {
    const found = await stack.records('end')
    expect(found.length).toBe(2)
    return found
  })
  expect(ends[0]).toMatchObject({ why: expect.stringContaining('policy_changed') })
  expect((await stack.records('start')).map(({ policy }) => policy)).toEqual([before, version])
  expect(await readFile(`${stack.data}/recordings/ledger.jsonl`, 'utf8')).toContain(version)
  expect((await stack.operator('audit', 'verify')).out).toContain('✓ whole')
})

test('a session that the change does not concern goes on', async () => {
  await edit((yaml) => yaml.replace('ttl: 2h', 'ttl: 1h'))
  await stack.gateway.reload()
  await edit((yaml) => yaml.replace('\n  deploy:', '\n  other: {}\n  deploy:'))
  await stack.gateway.reload()
  await client.query('UPDATE orders SET total = 43 WHERE id = 10')
})

test.skipIf(lacks('psql'))(
  'a change at the top ends what is below, also where only the handing on is taken back',
  async () => {
    const [program = '', ...args] = nest(
      [['--stage', 'migrate']],
      ['psql', '-XAtq', '-c', "SELECT 'before'", '-c', '\\! sleep 4', '-c', "SELECT 'after'"],
    )
    const child = run(program, args, job.env)
    await eventually(async () => expect(await stack.recorded("SELECT 'before'")).not.toEqual([]))
    await edit((yaml) => yaml.replace('    delegates: [migrate]\n', ''))
    await stack.gateway.reload()
    const { out, err } = await child
    expect(out).toContain('before')
    expect(out).not.toContain('after')
    expect(err).toContain('does not hand on stage migrate')
    // The parent's own session stands.
    await client.query('SELECT id FROM orders')
    const again = await run(process.execPath, nest([['--stage', 'migrate']], ['true']).slice(1), job.env)
    expect(again.code).toBe(125)
  },
)

test('an approval that was given under the policy before does not let through what is denied now', async () => {
  const held = failure(client.query('DELETE FROM orders WHERE id = 11'))
  const pending = await stack.pending()
  await edit((yaml) =>
    yaml.replace('approve: [{ operations: [ddl, delete], by: dba }]', 'deny: [{ operations: [delete] }]'),
  )
  await stack.gateway.reload()
  await stack.operator('approvals', 'approve', pending.id, '--reason', 'late')
  expect((await held).code).toBe('57P01')
  expect(stack.postgres.log()).not.toContain('DELETE FROM orders')
})

test('a file with faults changes nothing, and neither does what needs a new start', async () => {
  const good = await edit((yaml) => yaml.replace('    max_ttl: 2h', '    max_tll: 2h'))
  await expect(stack.gateway.reload()).rejects.toMatchObject({
    code: 'invalid_config',
    message: expect.stringMatching(/hoop\.yaml:\d+:\d+/),
  })
  await writeFile(stack.config, without('update')(good).replace('trust_domain: shop', 'trust_domain: spam'))
  await expect(stack.gateway.reload()).rejects.toMatchObject({ message: expect.stringContaining('gateway') })
  await client.query('UPDATE orders SET total = 44 WHERE id = 10')
})

test('a certificate of the gateway’s that cannot be used changes nothing either: the policy before stays in force', async () => {
  const { certPem } = makeAuthority('own').issue('gateway', ['localhost'])
  const { keyPem } = makeAuthority('other').issue('gateway', ['localhost'])
  for (const [cert, key] of [
    ['no certificate', keyPem],
    [certPem, keyPem],
  ] as const) {
    await writeFile(`${stack.folder}/own.crt`, cert)
    await writeFile(`${stack.folder}/own.key`, key)
    const good = await edit((yaml) =>
      without('update')(yaml).replace(
        /^gateway:( \{|\n {2})/m,
        (begin) =>
          `${begin}${begin.endsWith('{') ? ' ' : ''}tls: { cert: { file: own.crt }, key: { file: own.key } }${begin.endsWith('{') ? ',' : '\n  '}`,
      ),
    )
    await expect(stack.gateway.reload()).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining('gateway.tls'),
    })
    await client.query('UPDATE orders SET total = 45 WHERE id = 10')
    await writeFile(stack.config, good)
  }
})

test('a password or an authority of a database that is put right is used at once, by all that reads of it', async () => {
  const reading = await stack.open('test')
  for (const [from, to] of [
    ['"${ORDERS_RO_PASSWORD}"', '"another"'],
    ['file: db-ca.pem', 'file: data/ca.pem'],
  ] as const) {
    const good = await edit((yaml) => yaml.replace(from, to))
    await stack.gateway.reload()
    expect(await failure(connect(reading))).toMatchObject({ code: '08006' })
    await writeFile(stack.config, good)
    await stack.gateway.reload()
    const anew = await connect(reading)
    expect((await anew.query('SELECT id FROM orders')).rowCount).toBe(2)
    await anew.end()
  }
})

test('SIGHUP is how an operator asks for it, and the log says what came of it', async () => {
  const separate = await startSeparateStack()
  try {
    const { process: gateway } = separate.gateway
    const said = (text: string): Promise<void> =>
      eventually(async () => expect(gateway.log()).toContain(text))
    const good = await edit((yaml) => yaml.replace('\n  deploy:', '\n  deplyo: [\n  deploy:'), separate)
    process.kill(gateway.pid, 'SIGHUP')
    await said('the configuration was not taken over')
    await writeFile(separate.config, without('update')(good))
    process.kill(gateway.pid, 'SIGHUP')
    await said('another policy is in force')
  } finally {
    await separate.close()
  }
})
