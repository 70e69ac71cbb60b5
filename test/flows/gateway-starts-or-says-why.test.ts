import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startGatewayProcess } from '../servers/gateway.ts'
import { freePort } from '../servers/port.ts'
import {
  type GatewayStack,
  type SeparateGateway,
  separately,
  startGatewayStack,
  writeStages,
} from './gateway-stack.ts'

let stack: GatewayStack<SeparateGateway>
beforeAll(async () => {
  stack = await startGatewayStack(separately, {
    configure: (at) =>
      writeStages({
        ...at,
        connections: '  api: { type: http, url: "http://127.0.0.1:1" }',
        stages:
          '  test: { subjects: [{ issuer: github, claims: { repository_id: "1296269" } }], grants: [{ connection: api }] }',
      }),
    stop: async () => undefined,
  })
})
afterAll(() => stack.close())

/** Starts one whose hoop.yaml differs from the running one's, and gives why it ended: it has to end, and not to wait for anybody. */
async function failing(
  edit: (yaml: string) => string,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const config = join(stack.folder, 'other.yaml')
  await writeFile(config, edit(await readFile(stack.config, 'utf8')))
  const started = startGatewayProcess(config, env).then(async (gateway) => {
    await gateway.stop('SIGKILL')
    return 'it started'
  })
  return started.catch((error: Error) => error.message)
}

test('on a port that is taken it ends at once, and says which', async () => {
  const said = await failing((yaml) => yaml.replace('./data', './other'))
  expect(said).toContain('ended with 1')
  expect(said).toContain(`cannot listen on 127.0.0.1:${stack.port}: another program listens there`)
})

test('on the data folder of another it does not start: each would take the other’s ledger for tampering', async () => {
  const port = await freePort()
  const elsewhere = (yaml: string): string => yaml.replaceAll(String(stack.port), String(port))
  expect(await failing(elsewhere)).toMatch(
    /ended with 1:[^]*another gateway runs on this data folder .*gateway\.lock/,
  )
  await stack.open('test')
  expect((await stack.operator('audit', 'verify')).out).toContain('whole')
  // However the other one went, its claim went with it.
  await stack.gateway.restart('SIGKILL')
  await stack.open('test')
  expect((await stack.operator('audit', 'verify')).out).toContain('whole')
})

test('where TLS is not verified it does not start', async () => {
  const said = await failing((yaml) => yaml, { NODE_TLS_REJECT_UNAUTHORIZED: '0' })
  expect(said).toContain('NODE_TLS_REJECT_UNAUTHORIZED=0 would have the gateway take anybody for')
})

test('a level of the log that there is none of is said, with those there are', async () => {
  const said = await failing((yaml) => yaml, { HOOP_LOG_LEVEL: 'verbose' })
  expect(said).toContain('HOOP_LOG_LEVEL is "verbose": use one of fatal, error, warn, info')
})

test('a database that is none is said, with what to do', async () => {
  await stack.gateway.process.stop()
  await truncate(join(stack.data, 'hoop.db'), 100)
  expect(await failing((yaml) => yaml)).toMatch(/hoop\.db cannot be used \(.+\): put a copy of it back/)
})
