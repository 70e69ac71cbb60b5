import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { startGithubOidc } from '../fakes/github-oidc.ts'
import { type Job, type StepResult, startJob } from '../fakes/runner.ts'
import { root } from '../servers/gateway.ts'
import { freePort } from '../servers/port.ts'
import { type Stack, startStack } from './stack.ts'

let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startStack()
})
afterAll(() => stack.close())
afterEach(() => job.remove())

/** A job of its own, that may ask the issuer for tokens unless told otherwise. */
async function begin(oidc: { requestUrl: string; requestToken: string } | null = stack.oidc): Promise<void> {
  job = await startJob({ root, oidc, env: { DATABASE_URL: 'postgres://old@db.internal/shop' } })
}

function use(inputs: Record<string, string> = {}): Promise<StepResult> {
  const { url: gateway } = stack
  return job.use({ gateway, ca: stack.gateway.pin, stage: 'test', env: 'DATABASE_URL=orders-db', ...inputs })
}

test('a step reads through the gateway, and its session-url and summary lead to pages that are there', async () => {
  await begin()
  const main = await use()
  expect(main.code, main.log).toBe(0)
  const read = await job.run([process.execPath, join(root, 'test/demo/query.ts'), 'SELECT id FROM orders'])
  expect(read.code, read.log).toBe(0)
  const ca = await readFile(join(stack.data, 'ca.pem'), 'utf8')
  const { request } = await import('node:https')
  const pageOf = (url: string): Promise<number> =>
    new Promise((resolve, reject) => {
      request(url, { ca }, (answer) => resolve(answer.resume().statusCode ?? 0))
        .on('error', reject)
        .end()
    })
  expect(main.outputs['session-url']).toBe(`${stack.url}/identities/${main.outputs.identity}`)
  expect(await pageOf(main.outputs['session-url'] ?? '')).toBe(200)
  const [post] = await job.finish()
  expect(post?.log).toContain('revoked')
  const links = [...(await job.summary()).matchAll(/href="([^"]+)"/g)].map(([, url = '']) => url)
  expect(links.length).toBeGreaterThan(0)
  for (const url of links) expect(await pageOf(url)).toBe(200)
})

test('a job that may not ask for ID tokens is told which permission is missing', async () => {
  await begin(null)
  const { code, log } = await use()
  expect(code).toBe(1)
  expect(log).toContain('id-token: write')
})

test('a stage that the job may not become: the claim that did not match', async () => {
  await begin()
  const { code, log } = await use({ stage: 'deploy' })
  expect(code).toBe(1)
  expect(log).toContain('claim environment must be')
  expect(job.env.DATABASE_URL).toBe('postgres://old@db.internal/shop')
})

test('another gateway’s pin: nothing is sent', async () => {
  await begin()
  const { code, log } = await use({ ca: `sha256:${Buffer.alloc(32, 7).toString('base64')}` })
  expect(code).toBe(1)
  expect(log).toContain('pinned key')
})

test('an issuer that is gone, and a gateway that is not there, are told apart', {
  timeout: 180_000,
}, async () => {
  const gone = await startGithubOidc()
  const { requestUrl, requestToken } = gone
  await gone.close()
  await begin({ requestUrl, requestToken })
  const issuer = await use()
  expect(issuer.code).toBe(1)
  expect(issuer.log).toContain('ID token endpoint cannot be reached')
  await job.remove()
  await begin()
  const gateway = await use({ gateway: `https://localhost:${await freePort()}` })
  expect(gateway.code).toBe(1)
  expect(gateway.log).toMatch(/the gateway at localhost:\d+ cannot be reached/)
})
