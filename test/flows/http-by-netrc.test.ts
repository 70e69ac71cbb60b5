import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { type HttpStack, startHttpStack } from './http-stack.ts'
import { run } from './stack.ts'

// Tools that read a .netrc show its password as Basic, and know nothing of tokens and certificates.

let stack: HttpStack
beforeAll(async () => {
  const grants = '[{ connection: api, allow: [{ operations: [read], resources: ["/v1/**"] }] }]'
  stack = await startHttpStack({
    stages: `  bare:
    binding: token
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: ${grants}
  bound:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: ${grants}
`,
    upstream: (_, response) => response.end('there'),
  })
}, 60_000)
afterAll(() => stack.close())

const curl = (home: string, ...args: string[]) =>
  run('curl', ['-sS', '--cacert', join(home, 'ca.pem'), '-w', '\n%{http_code}', ...args], {})
const url = (path: string): string => `${stack.url}/http/api${path}`

test.skipIf(lacks('curl'))(
  'where the token alone serves, the netrc of the folder does, within what is granted',
  async () => {
    const { home } = await stack.open('bare')
    const netrc = ['--netrc-file', join(home, 'netrc')]
    expect((await curl(home, ...netrc, url('/v1/x'))).out).toBe('there\n200')
    expect((await curl(home, ...netrc, url('/admin'))).out).toMatch(/\n403$/)
    expect(stack.seen.map(({ line }) => line)).toEqual(['GET /base/v1/x'])
    // The upstream gets the gateway's own credentials, and never the job's.
    expect(JSON.stringify(stack.seen)).not.toContain((await readFile(join(home, 'token'), 'utf8')).trim())
  },
)

test.skipIf(lacks('curl'))(
  'where a key is wanted, there is no netrc, and the token as a password is nothing',
  async () => {
    const { home, held } = await stack.open('bound')
    expect(existsSync(join(home, 'netrc'))).toBe(false)
    const before = stack.seen.length
    const { out } = await curl(home, '-u', `hoop:${held.token}`, url('/v1/x'))
    expect(out).toMatch(/\n401$/)
    expect(stack.seen.length).toBe(before)
  },
)

test.skipIf(lacks('curl'))('only on the data path: elsewhere a password is nothing', async () => {
  const { home, held } = await stack.open('bare')
  const { out } = await curl(home, '-u', `hoop:${held.token}`, `${stack.url}/api/v1/identity`)
  expect(out).toMatch(/\n401$/)
  const operator = (await readFile(join(stack.data, 'operator.token'), 'utf8')).trim()
  expect((await curl(home, '-u', `operator:${operator}`, url('/v1/x'))).out).toMatch(/\n40[13]$/)
})
