import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { executable } from '../servers/gateway.ts'
import { type Stack, connect, run, startStack } from './stack.ts'

let stack: Stack
let recordings: string

beforeAll(async () => {
  stack = await startStack()
  recordings = join(stack.data, 'recordings')
  const job = await stack.open('test')
  const client = await connect(job)
  await client.query("SELECT 'a value that is easy to find' AS v")
  await client.end()
})
afterAll(() => stack.close())

test('what was recorded verifies, from the command line and while the gateway runs', async () => {
  const verified = await stack.operator('audit', 'verify')
  expect(verified).toMatchObject({ code: 0 })
})

test('a changed letter, a cut and a missing session are each named', async () => {
  const session = (await sessions(recordings))[0] ?? ''
  const broken = async (name: string, damage: (copy: string) => Promise<void>): Promise<string> => {
    const copy = join(stack.data, name)
    await cp(recordings, copy, { recursive: true })
    await damage(copy)
    const { code, out, err } = await run(process.execPath, [executable, 'audit', 'verify', copy], {})
    expect(code).not.toBe(0)
    return out + err
  }
  const changed = await broken('changed', async (copy) => {
    const path = join(copy, session)
    await writeFile(path, (await readFile(path, 'utf8')).replace('easy to find', 'easy to fine'))
  })
  expect(changed).toContain(session.split('/').at(-1))
  const cut = await broken('cut', async (copy) => {
    const path = join(copy, session)
    const lines = (await readFile(path, 'utf8')).split('\n')
    await writeFile(path, `${lines.slice(0, 4).join('\n')}\n`)
  })
  expect(cut).toContain(session.split('/').at(-1))
  const missing = await broken('missing', (copy) => rm(join(copy, session)))
  expect(missing).toContain(/ses_[a-z2-7]+/.exec(session)?.[0])
})

test('sessions are listed, shown and replayed', async () => {
  const listed = JSON.parse((await stack.operator('sessions', 'list', '--json')).out)
  expect(listed).toMatchObject([{ connection: 'orders-db', stage: 'test', allowed: 1, end: 'client left' }])
  const id = listed[0].id
  expect((await stack.operator('sessions', 'show', id)).out).toContain('orders-db')
  const kept = await stack.operator('sessions', 'replay', id, '--json')
  const kinds = kept.out
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { kind: string }).kind)
  expect(kinds).toEqual(expect.arrayContaining(['start', 'end']))
  const replayed = await stack.operator('sessions', 'replay', id)
  expect(replayed.out).toContain("SELECT 'a value that is easy to find' AS v")
  expect(replayed.out).toContain('a value that is easy to find')
})

test('nothing that is kept holds a secret of the gateway or of the job', async () => {
  const job = await stack.open('test')
  const client = await connect(job)
  await client.query('SELECT 1')
  await client.end()
  for (const path of await sessions(recordings)) {
    const text = await readFile(join(recordings, path), 'utf8')
    expect(text).not.toContain('ro-4f1e77ab')
    expect(text).not.toContain(job.held.token)
  }
})

async function sessions(folder: string): Promise<string[]> {
  const all = await readdir(folder, { recursive: true })
  return all.filter((path) => /ses_[a-z2-7]+\.jsonl$/.test(path))
}

test('recordings that go into a folder of their own are found there, by commands and pages', async () => {
  const other = await startStack({
    edit: (yaml) => yaml.replace('gateway:', 'gateway:\n  recordings: ./records'),
  })
  try {
    const job = await other.open('test')
    const client = await connect(job)
    await client.query('SELECT 1')
    await client.end()
    const [session] = await sessions(join(other.folder, 'records'))
    const id = /ses_[a-z2-7]+/.exec(session ?? '')?.[0] ?? ''
    expect((await other.operator('sessions', 'replay', id)).out).toContain('SELECT 1')
    expect((await other.operator('audit', 'verify')).out).toContain('✓ whole: 1 recordings')
    expect(await readdir(other.data)).not.toContain('recordings')
  } finally {
    await other.close()
  }
})
