import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { HttpJob, HttpStack } from '../flows/http-stack.ts'
import { startAttackedCluster } from './kubernetes-stack.ts'

let stack: HttpStack
let job: HttpJob

beforeAll(async () => {
  stack = await startAttackedCluster({
    grants: `      - connection: cluster
        allow:
          - { operations: [get, list, watch, create, update, patch, delete], resources: [configmaps, pods, pods/log], namespaces: [shop] }
          - { operations: [get], resources: [configmaps], names: [open] }
          - { operations: [get, list], resources: [secrets], names: [open], namespaces: [shop] }
          - { operations: [get], resources: [services/proxy], names: [web] }
        deny: [{ operations: ["*"], resources: [services/proxy], names: [inner] }]
      - { connection: empty, allow: [{ operations: ["*"] }] }
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

const shop = '/k8s/cluster/api/v1/namespaces/shop'
const ask = (method: string, path: string, more = ''): Promise<string> =>
  job.raw(`${method} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${more}\r\n`)

test.each([
  ['what is allowed', 'GET', `${shop}/configmaps/a`],
  ['with a slash at its end', 'GET', `${shop}/configmaps/`],
  ['with letters escaped', 'GET', `${shop}/%63onfigmaps`],
  ['a watch by the old prefix', 'GET', '/k8s/cluster/api/v1/watch/namespaces/shop/pods'],
  ['one by its name', 'GET', `${shop}/secrets?fieldSelector=metadata.name%3Dopen`],
  ['a proxy by its bare name', 'GET', `${shop}/services/https:web:443/proxy/x`],
  ['discovery', 'GET', '/k8s/cluster/apis/apps/v1'],
  ['openapi', 'GET', '/k8s/cluster/openapi/v3/apis/apps/v1?hash=1'],
])('%s passes', async (_, method, path) => {
  expect(await ask(method, path)).toContain('200 OK')
  expect(stack.seen).toHaveLength(1)
})

test.each([
  ['dot segments', 'GET', `${shop}/../kube-system/configmaps`],
  ['escaped dot segments', 'GET', `${shop}/%2e%2e/kube-system/configmaps`],
  ['an escaped slash', 'GET', `${shop}%2fsecrets`],
  ['an escaped slash in a name', 'GET', `${shop}/configmaps/..%2f..%2fsecrets`],
  ['empty segments', 'GET', '/k8s/cluster//api/v1/namespaces/shop/configmaps'],
  ['capitals', 'GET', '/k8s/cluster/API/v1/namespaces/kube-system/secrets'],
  ['capitals of a resource', 'GET', `${shop}/Secrets`],
  ['a backslash', 'GET', `${shop}\\secrets`],
  ['a semicolon', 'GET', `${shop}/configmaps;x=/secrets`],
  ['double escapes', 'GET', `${shop}/configmaps/%252e%252e`],
  ['all namespaces', 'GET', '/k8s/cluster/api/v1/pods'],
  ['another namespace', 'GET', '/k8s/cluster/api/v1/namespaces/kube-system/pods'],
  ['the namespace itself', 'GET', shop],
  ['a namespace’s status', 'GET', `${shop}/status`],
  ['another group', 'GET', '/k8s/cluster/apis/evil.example/v1/namespaces/shop/configmaps'],
  ['a watch by the old prefix elsewhere', 'GET', '/k8s/cluster/api/v1/watch/namespaces/kube-system/pods'],
  ['a watch by the old prefix of all', 'GET', '/k8s/cluster/api/v1/watch/pods'],
  ['the old prefix with nothing behind', 'GET', '/k8s/cluster/api/v1/watch'],
  ['the old prefix with another method', 'DELETE', '/k8s/cluster/api/v1/watch/namespaces/shop/pods'],
  ['the removed proxy prefix', 'GET', '/k8s/cluster/api/v1/proxy/namespaces/shop/pods/x'],
  ['a collection deleted', 'DELETE', `${shop}/configmaps`],
  ['two watches', 'GET', `${shop}/configmaps?watch=true&watch=false`],
  ['two selectors', 'GET', `${shop}/secrets?fieldSelector=metadata.name=open&fieldSelector=x`],
  ['a selector of another name', 'GET', `${shop}/secrets?fieldSelector=metadata.name=other`],
  ['a selector that excludes', 'GET', `${shop}/secrets?fieldSelector=metadata.name!=open`],
  ['a selector of two names', 'GET', `${shop}/secrets?fieldSelector=metadata.name=open,metadata.name=other`],
  ['a selector that is broken', 'GET', `${shop}/secrets?fieldSelector=metadata.name=open,x`],
  ['a selector beside a broken limit', 'GET', `${shop}/secrets?limit=x&fieldSelector=metadata.name=open`],
  [
    'a selector beside a broken time',
    'GET',
    `${shop}/secrets?timeoutSeconds=&fieldSelector=metadata.name=open`,
  ],
  ['a selector beside labels', 'GET', `${shop}/secrets?labelSelector=a==b=&fieldSelector=metadata.name=open`],
  ['a selector with escapes', 'GET', `${shop}/secrets?fieldSelector=metadata.name=open\\,x`],
  ['a watch where only a list may be', 'GET', `${shop}/secrets?watch=yes&fieldSelector=metadata.name=open`],
  ['an escape that is none', 'GET', `${shop}/configmaps?watch=%zz`],
  ['a semicolon in the query', 'GET', `${shop}/configmaps?a=1;watch=true`],
  ['a subresource', 'GET', `${shop}/pods/web/proxy/x`],
  ['exec by GET', 'GET', `${shop}/pods/web/exec?command=id`],
  ['a proxy under another scheme', 'GET', `${shop}/services/https:inner:443/proxy/`],
  ['a proxy under a port', 'GET', `${shop}/services/inner:80/proxy/`],
  ['a method that resources do not know', 'OPTIONS', `${shop}/configmaps`],
  ['TRACE', 'TRACE', `${shop}/configmaps`],
  ['a path that is no resource', 'GET', '/k8s/cluster/metrics'],
  ['discovery with another method', 'POST', '/k8s/cluster/apis'],
  ['a connection that was not granted', 'GET', '/k8s/second/version'],
  ['a connection of another kind', 'GET', '/k8s/api/version'],
  ['a cluster as an HTTP API', 'GET', '/http/cluster/version'],
  ['a connection whose token is empty', 'GET', '/k8s/empty/version'],
])('%s never reaches the cluster', async (_, method, path) => {
  const answer = await ask(method, path)
  expect(answer).toMatch(/^HTTP\/1\.1 (?:400|403|404|405|501|502) /)
  expect(stack.seen).toEqual([])
})

test('a request that is for more than it looks is decided for all of it', async () => {
  for (const [method, path, type] of [
    ['PATCH', `${shop}/configmaps/a`, 'application/apply-patch+yaml'],
    ['PUT', '/k8s/cluster/apis/coordination.k8s.io/v1/namespaces/shop/leases/a', 'application/json'],
    ['PUT', '/k8s/cluster/apis/node.k8s.io/v1/runtimeclasses/a', 'application/json'],
    ['PUT', `${shop}/services/a`, 'application/json'],
  ] as const)
    await job.request(method, path, { headers: { 'content-type': type }, body: '{}' })
  const asked = (await stack.records('request')).map(({ operations }) => operations)
  expect(asked).toContainEqual([
    { action: 'patch', resource: 'configmaps' },
    { action: 'create', resource: 'configmaps' },
  ])
  expect(asked).toContainEqual([
    { action: 'update', resource: 'coordination.k8s.io/leases' },
    { action: 'create', resource: 'coordination.k8s.io/leases' },
  ])
  for (const resource of ['node.k8s.io/runtimeclasses', 'services'])
    expect(asked).toContainEqual([
      { action: 'update', resource },
      { action: 'create', resource },
    ])
  expect(asked).toContainEqual([{ action: 'deletecollection', resource: 'configmaps' }])
})

test('refusals are on record', async () => {
  await ask('GET', `${shop}/../kube-system/secrets`)
  await ask('GET', '/k8s/cluster/api/v1/proxy/namespaces/shop/pods/x')
  const denied = (await stack.records('request')).filter(({ effect }) => effect === 'deny')
  expect(denied.map(({ text }) => text)).toContain('GET /api/v1/proxy/namespaces/shop/pods/x')
})
