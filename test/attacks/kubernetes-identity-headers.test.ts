import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { HttpJob, HttpStack } from '../flows/http-stack.ts'
import { startAttackedCluster } from './kubernetes-stack.ts'

let stack: HttpStack
let job: HttpJob

beforeAll(async () => {
  stack = await startAttackedCluster({
    grants: `      - { connection: cluster, allow: [{ operations: ["*"] }] }
      - connection: second
        as: { impersonate: { user: deployer, groups: [people, deployers] } }
        allow: [{ operations: ["*"] }]
`,
    upstream: (request, response) => {
      request.resume()
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    },
  })
  job = await stack.open('test')
})
afterAll(() => stack.close())
beforeEach(() => {
  stack.seen.length = 0
})

const claims = [
  'impersonate_user: admin',
  'X-Remote-User: admin',
  'X-Remote-Group: system:masters',
  'X-Remote-Extra-A: b',
  'X-Forwarded-For: 10.0.0.1',
  'Cookie: session=admin',
  'Proxy-Authorization: Basic YTpi',
]
const told = (): Record<string, unknown> => ({ ...stack.seen[0]?.headers })

test('what a client says of who it is does not arrive', async () => {
  await job.raw(
    `GET /k8s/cluster/api/v1/pods HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${claims.join('\r\n')}\r\n\r\n`,
  )
  expect(
    Object.keys(told()).filter((name) => /impersonate|remote|forwarded|cookie|proxy/i.test(name)),
  ).toEqual([])
  expect(told().authorization).toBe('Bearer cluster-secret-1234567890')
})

test('what the cluster’s audit log calls a request is the record of it, and not for a client to choose', async () => {
  for (const more of ['', 'Connection: audit-id\r\n'])
    await job.raw(
      `DELETE /k8s/cluster/api/v1/namespaces/shop/pods/web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${more}Audit-ID: another\r\naudit-id: again\r\nAudit_ID: and-again\r\n\r\n`,
    )
  expect(stack.seen).toHaveLength(2)
  const names = stack.seen.map(({ raw }) =>
    raw.filter((_, index) => index % 2 === 1 && /^audit[-_]id$/i.test(raw[index - 1] ?? '')),
  )
  const records = (await stack.recorded('DELETE /api/v1/namespaces/shop/pods/web')).map(({ seq }) => seq)
  expect(records).toHaveLength(2)
  for (const [only = '', ...others] of names) {
    expect(others).toEqual([])
    const [, session = '', seq] = /^(ses_[a-z2-7]{26})\.(\d+)$/.exec(only) ?? []
    expect(records).toContain(Number(seq))
    expect((await stack.operator('sessions', 'replay', session, '--json')).out).toContain(`"seq":${seq},`)
  }
  expect(new Set(names.flat()).size).toBe(2)
})

test.each(['authorization', 'Authorization, Impersonate-User', 'impersonate-user, impersonate-group'])(
  'Connection: %s takes nothing away of what the gateway says',
  async (named) => {
    await job.raw(
      `GET /k8s/second/api/v1/pods HTTP/1.1\r\nHost: localhost\r\nConnection: close, ${named}\r\n${claims.join('\r\n')}\r\n\r\n`,
    )
    expect(told().authorization).toBe('Bearer cluster-secret-1234567890')
    expect(told()['impersonate-user']).toBe('deployer')
    const raw = stack.seen[0]?.raw ?? []
    const groups = raw.filter((_, index) => raw[index - 1]?.toLowerCase() === 'impersonate-group')
    expect(groups).toEqual(['people', 'deployers'])
  },
)

test.each([
  'Impersonate-User: nobody',
  'impersonate-group: system:masters',
  'IMPERSONATE-UID: 0',
  'Impersonate-Extra-Scopes: all',
])('%s: refused, not done as somebody who may do more', async (claim) => {
  for (const [path, more] of [
    ['/k8s/cluster/api/v1/pods', ''],
    ['/k8s/second/api/v1/pods', `Connection: close, ${claim.split(':')[0]}\r\n`],
    [
      '/k8s/cluster/api/v1/namespaces/a/pods/b/exec?command=id',
      'Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
    ],
  ]) {
    const answer = await job.raw(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n${more}${claim}\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 400 [^]*cannot impersonate/)
  }
  expect(stack.seen).toEqual([])
  expect(await stack.recorded('cannot impersonate')).not.toEqual([])
})

test('an upgrade carries the gateway’s word, too', async () => {
  await job.raw(
    `GET /k8s/cluster/api/v1/namespaces/a/pods/b/exec?command=id&stdout=true HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWRtaW4\r\n${claims.join('\r\n')}\r\n\r\n`,
  )
  expect(told().authorization).toBe('Bearer cluster-secret-1234567890')
  expect(told()['sec-websocket-protocol']).toBe('v5.channel.k8s.io')
  expect(told()['sec-websocket-key']).not.toBe('dGhlIHNhbXBsZSBub25jZQ==')
  expect(Object.keys(told()).filter((name) => /impersonate|remote|cookie|proxy/i.test(name))).toEqual([])
})

test('a certificate that another gateway signed, or none, gets nowhere', async () => {
  const { status, body } = await job.request('GET', '/k8s/cluster/version', {
    headers: { authorization: 'Bearer cluster-secret-1234567890' },
  })
  expect(status).toBe(401)
  expect(JSON.parse(body)).toMatchObject({ kind: 'Status', reason: 'Unauthorized', code: 401 })
  expect(stack.seen).toEqual([])
})
