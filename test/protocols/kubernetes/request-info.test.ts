import { describe, expect, test } from 'vitest'
import { readTarget } from '../../../gateway/http-relay/target.ts'
import { readRequestInfo } from '../../../gateway/protocols/kubernetes/request-info.ts'

const read = (method: string, path: string): string => {
  const info = readRequestInfo(method, readTarget(`/k8s/c${path}`, '/k8s'))
  if (info.kind === 'path') return `${info.verb} path ${info.path}`
  const { verb, group, version, namespace, resource, subresource, name } = info
  return [verb, group, version, namespace, resource, subresource, name].join('|')
}

// The cases of TestGetAPIRequestInfo in k8s.io/apiserver, and others that its code decides.
test.each([
  ['GET', '/api/v1/namespaces', 'list||v1||namespaces||'],
  ['GET', '/api/v1/namespaces/other', 'get||v1|other|namespaces||other'],
  ['GET', '/api/v1/namespaces/other/pods', 'list||v1|other|pods||'],
  ['GET', '/api/v1/namespaces/other/pods/foo', 'get||v1|other|pods||foo'],
  ['HEAD', '/api/v1/namespaces/other/pods/foo', 'get||v1|other|pods||foo'],
  ['GET', '/api/v1/pods', 'list||v1||pods||'],
  ['HEAD', '/api/v1/pods', 'list||v1||pods||'],
  ['GET', '/api/v1/pods?watch', 'watch||v1||pods||'],
  ['GET', '/api/v1/pods?watch=1', 'watch||v1||pods||'],
  ['GET', '/api/v1/pods?watch=yes', 'watch||v1||pods||'],
  ['GET', '/api/v1/pods?watch=0', 'list||v1||pods||'],
  ['GET', '/api/v1/pods?watch=FALSE', 'list||v1||pods||'],
  ['GET', '/api/v1/pods?%77atch=1', 'watch||v1||pods||'],
  ['GET', '/api/v1/pods/foo?watch=1', 'get||v1||pods||foo'],
  ['GET', '/api/v1/watch/pods', 'watch||v1||pods||'],
  ['GET', '/api/v1/watch/namespaces/other/pods', 'watch||v1|other|pods||'],
  ['GET', '/api/v1/watch/namespaces/other/pods/foo', 'watch||v1|other|pods||foo'],
  ['GET', '/api/v1/namespaces/other/pods?fieldSelector=metadata.name=foo', 'list||v1|other|pods||foo'],
  [
    'GET',
    '/api/v1/namespaces/other/pods?fieldSelector=metadata.name==foo&watch=1',
    'watch||v1|other|pods||foo',
  ],
  [
    'GET',
    '/api/v1/namespaces/other/pods?fieldSelector=spec.x=1,metadata.name%3Dfoo',
    'list||v1|other|pods||foo',
  ],
  ['GET', '/api/v1/namespaces/other/pods?fieldSelector=metadata.name!=foo', 'list||v1|other|pods||'],
  ['GET', '/api/v1/namespaces/other/pods?fieldSelector=metadata.name=a/b', 'list||v1|other|pods||'],
  ['GET', '/api/v1/namespaces/other/pods?fieldSelector=metadata.name=', 'list||v1|other|pods||'],
  ['PUT', '/api/v1/namespaces/other/finalize', 'update||v1|other|namespaces|finalize|other'],
  ['PUT', '/api/v1/namespaces/other/status', 'update||v1|other|namespaces|status|other'],
  ['GET', '/api/v1/namespaces/other/pods/foo/status', 'get||v1|other|pods|status|foo'],
  ['GET', '/api/v1/namespaces/other/pods/foo/proxy/a/b', 'get||v1|other|pods|proxy|foo'],
  ['POST', '/api/v1/namespaces/other/pods', 'create||v1|other|pods||'],
  ['POST', '/api/v1/namespaces/other/pods/foo/eviction', 'create||v1|other|pods|eviction|foo'],
  [
    'PATCH',
    '/api/v1/namespaces/other/pods/foo/ephemeralcontainers',
    'patch||v1|other|pods|ephemeralcontainers|foo',
  ],
  ['PUT', '/api/v1/namespaces/other/pods/foo', 'update||v1|other|pods||foo'],
  [
    'PATCH',
    '/apis/apps/v1/namespaces/other/deployments/foo/scale',
    'patch|apps|v1|other|deployments|scale|foo',
  ],
  ['DELETE', '/api/v1/namespaces/other/pods/foo', 'delete||v1|other|pods||foo'],
  ['DELETE', '/api/v1/namespaces/other/pods', 'deletecollection||v1|other|pods||'],
  ['DELETE', '/api/v1/nodes', 'deletecollection||v1||nodes||'],
  ['GET', '/api/v1/nodes/n/proxy/metrics', 'get||v1||nodes|proxy|n'],
  ['GET', '/apis/metrics.k8s.io/v1beta1/nodes', 'list|metrics.k8s.io|v1beta1||nodes||'],
  ['GET', '/', 'get path /'],
  ['GET', '/api', 'get path /api'],
  ['GET', '/api/v1', 'get path /api/v1'],
  ['GET', '/api/v1/', 'get path /api/v1/'],
  ['GET', '/apis/apps/v1', 'get path /apis/apps/v1'],
  ['GET', '/API/v1/pods', 'get path /API/v1/pods'],
  ['POST', '/version', 'post path /version'],
  ['GET', '/not/in/the/api', 'get path /not/in/the/api'],
])('%s %s is %s', (method, path, expected) => {
  expect(read(method, path)).toBe(expected)
})

describe('what servers could read otherwise is refused', () => {
  test.each([
    ['GET', '/api/v1/watch'],
    ['POST', '/api/v1/watch/pods'],
    ['HEAD', '/api/v1/pods?watch=1'],
    ['GET', '/api/v1/proxy/nodes/n'],
    ['OPTIONS', '/api/v1/pods'],
    ['GET', '/api/v1/pods?watch=1&watch=0'],
    ['GET', '/api/v1/pods?watch=1&%77atch=0'],
    ['GET', '/api/v1/pods?a;watch=1'],
    ['GET', '/api/v1/pods?watch=%zz'],
    ['GET', '/api/v1/pods?x=%ff'],
  ])('%s %s', (method, path) => {
    expect(() => read(method, path)).toThrow(/in one way only/)
  })
})
