import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { HttpJob, HttpStack } from '../flows/http-stack.ts'
import { deleteOptions } from '../protocols/kubernetes/delete-options.ts'
import { startAttackedCluster } from './kubernetes-stack.ts'

// A job that may only try changes sends real ones that look like dry runs.

let stack: HttpStack
let tries: HttpJob

beforeAll(async () => {
  stack = await startAttackedCluster({
    grants: `      - connection: cluster
        allow:
          - { operations: ["*"], dry_run: true }
          - { operations: ["*"], dry_run: true, resources: ["*", "*/*", "*/*/*"] }
`,
    upstream: (request, response) => {
      request.resume()
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end('{"kind":"Status"}')
    },
  })
  tries = await stack.open('test')
})
afterAll(() => stack.close())
beforeEach(() => {
  stack.seen.length = 0
})

const json = 'application/json'
const protobuf = 'application/vnd.kubernetes.protobuf'
const one = '/k8s/cluster/api/v1/namespaces/shop/configmaps/a'
const all = '/k8s/cluster/api/v1/namespaces/shop/configmaps'

async function send(method: string, path: string, body?: string | Buffer, type = json): Promise<number> {
  const { status } = await tries.request(method, path, {
    ...(body !== undefined && {
      body,
      headers: { 'content-type': type, 'content-length': String(Buffer.byteLength(body)) },
    }),
  })
  return status
}

test('what is a dry run without doubt gets through', async () => {
  expect(await send('PATCH', `${one}?dryRun=All`, '{}', 'application/merge-patch+json')).toBe(200)
  expect(await send('POST', `${all}?dryRun=All`, '{}')).toBe(200)
  expect(await send('DELETE', one, '{"dryRun":["All"]}')).toBe(200)
  expect(await send('DELETE', one, deleteOptions([[5, 'All']]), protobuf)).toBe(200)
  expect(await send('DELETE', `${one}?dryRun=All`)).toBe(200)
  expect(stack.seen).toHaveLength(5)
})

test.each<[string, string, (string | Buffer)?, string?]>([
  ['POST', all, '{}'],
  ['POST', `${all}?dryRun=`, '{}'],
  ['POST', `${all}?dryRun=None`, '{}'],
  ['POST', `${all}?DryRun=All`, '{}'],
  ['POST', `${all}?dryRun=All&dryRun=None`, '{}'],
  ['POST', `${all}?dryRun=All&dryRun=All`, '{}'],
  ['POST', `${all}?dryRun=All;`, '{}'],
  ['POST', `${all}?x=%zz&dryRun=All`, '{}'],
  ['POST', `${all}%3FdryRun=All`, '{}'],
  ['POST', all, '{"dryRun":["All"],"metadata":{"annotations":{"dryRun":"All"}}}'],
  ['PUT', `${one}?dryrun=All`, '{"dryRun":["All"]}'],
  ['PATCH', one, '{"dryRun":["All"]}', 'application/apply-patch+yaml'],
  // With a body the API server does not look at the query.
  ['DELETE', `${one}?dryRun=All`, '{}'],
  ['DELETE', `${one}?dryRun=All`, ' '],
  ['DELETE', `${one}?dryRun=All`, '{"dryRun":[]}'],
  ['DELETE', `${all}?dryRun=All`, '{"kind":"DeleteOptions"}'],
  ['DELETE', `${one}?dryRun=All`, deleteOptions([[4, 'Background']]), protobuf],
  ['DELETE', one, '{"dryRun":["All"],"dryRun":[]}'],
  ['DELETE', one, '{"DryRun":["All"]}'],
  ['DELETE', one, '{"preconditions":{"dryRun":["All"]}}'],
  ['DELETE', one, 'dryRun: [All]', 'application/yaml'],
  ['DELETE', one, '{"dryRun":["All"]}', 'application/yaml'],
  ['DELETE', one, '{"dryRun":["All"]}', protobuf],
  ['DELETE', one, deleteOptions([[5, 'All']]), json],
  [
    'DELETE',
    one,
    deleteOptions([
      [5, 'All'],
      [5, ''],
    ]),
    protobuf,
  ],
  // What ignores it, or may.
  ['POST', '/k8s/cluster/api/v1/namespaces/shop/pods/web/eviction?dryRun=All', '{}'],
  ['POST', '/k8s/cluster/api/v1/namespaces/shop/pods/web/binding?dryRun=All', '{}'],
  ['POST', '/k8s/cluster/api/v1/namespaces/shop/serviceaccounts/ci/token?dryRun=All', '{}'],
  ['POST', '/k8s/cluster/apis/authentication.k8s.io/v1/tokenreviews?dryRun=All', '{}'],
  ['PATCH', '/k8s/cluster/apis/apps/v1/namespaces/shop/deployments/web/scale?dryRun=All', '{}'],
  ['POST', '/k8s/cluster/api/v1/namespaces/shop/services/web/proxy/orders?dryRun=All', '{}'],
  ['POST', '/k8s/cluster/api/v1/nodes/n/proxy/run/shop/web/main?dryRun=All', '{}'],
  ['POST', '/k8s/cluster/apis/aggregated.example.com/v1/orders?dryRun=All', '{}'],
  ['GET', `${one}?dryRun=All`],
])('%s %s %j is not allowed as one', async (method, path, body, type) => {
  const unread = type === protobuf && typeof body === 'string' ? 415 : 403
  expect(await send(method, path, body, type)).toBe(/;|%zz/.test(path) ? 400 : unread)
  expect(stack.seen).toEqual([])
})

test('exec does not become one by saying so, in either form', async () => {
  const exec = '/k8s/cluster/api/v1/namespaces/shop/pods/web/exec?command=id&dryRun=All'
  expect(await send('POST', exec)).toBe(403)
  const answer = await tries.raw(
    `GET ${exec} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n`,
  )
  expect(answer).toMatch(/^HTTP\/1\.1 403 /)
  expect(stack.seen).toEqual([])
})

test('a denial says that it did not count, and is on record', async () => {
  const { body } = await tries.request('DELETE', `${one}?dryRun=All`, {
    body: '{}',
    headers: { 'content-type': json, 'content-length': '2' },
  })
  expect(body).toContain('no rule of stage test allows delete on configmaps named a in namespace shop')
  expect(body).toContain('as a dry run it does not count')
  const [denied] = await stack.recorded('allows delete on configmaps named a in')
  expect(denied).toMatchObject({
    effect: 'deny',
    operations: [{ action: 'delete', resource: 'configmaps' }],
  })
  expect(stack.seen).toEqual([])
})
