import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { secrets } from '../demo/shop.ts'
import { executable, startGatewayProcess } from '../servers/gateway.ts'
import { type SeparateGateway, type Stack, connect, run, startSeparateStack } from './stack.ts'

let stack: Stack<SeparateGateway>
beforeAll(async () => {
  stack = await startSeparateStack()
})
afterAll(() => stack.close())

const audit = (...args: string[]) => run(process.execPath, [executable, 'audit', 'verify', ...args], {})

test('a ledger cut back with every session since is found on the gateway’s own machine, and stops its start', async () => {
  const recordings = join(stack.data, 'recordings')
  const ledger = join(recordings, 'ledger.jsonl')
  const query = async (text: string): Promise<void> => {
    const client = await connect(await stack.open('test'))
    await client.query(text)
    await client.end()
  }
  await query('SELECT 1')
  await stack.gateway.restart()
  const before = await readFile(ledger)
  const days = await readdir(recordings, { recursive: true })
  expect((await stack.operator('audit', 'verify')).out).toMatch(/✓ whole/)

  await query('SELECT id FROM customers')
  await stack.gateway.process.stop('SIGKILL')
  await writeFile(ledger, before)
  for (const name of await readdir(recordings, { recursive: true }))
    if (!days.includes(name)) await rm(join(recordings, name))

  // With hoop.yaml or by the folder alone: the head lies beside it.
  for (const args of [['--config', stack.config], [recordings]]) {
    const { code, out } = await audit(...args)
    expect(out).toContain('the ledger was cut back')
    expect(code).toBe(1)
  }
  const refusal = await startGatewayProcess(stack.config, secrets).then(() => 'it started', String)
  expect(refusal).toMatch(/ended with 1/)
  const [, head = ''] = /--accept-ledger-loss ([0-9a-f]{64})/.exec(refusal) ?? []
  expect(head).not.toBe('')
  // Taking away what the gateway kept in the file leaves what it kept in its database.
  await rm(join(stack.data, 'ledger.head'))
  expect((await audit('--config', stack.config)).out).toContain('the ledger was cut back')
  await expect(startGatewayProcess(stack.config, secrets)).rejects.toThrow(/cut back/)

  stack.gateway.process = await startGatewayProcess(stack.config, secrets, ['--accept-ledger-loss', head])
  await query('SELECT 1')
  const { code, out } = await stack.operator('audit', 'verify')
  expect(out).toContain('it follows a ledger whose loss was accepted')
  expect(code).toBe(1)

  // Fetched from the gateway they are files of their own as well: the same is found.
  const fetched = await stack.operator('audit', 'verify', stack.url)
  // Not the counts: the ledger is signed once a second.
  const found = (text: string): string[] =>
    (text.match(/^✗ (?!not whole).*/gm) ?? []).map((line) => line.replace(/\S*\//, ''))
  expect(found(fetched.out)).toEqual(found(out))
  expect(fetched.code).toBe(1)
})
