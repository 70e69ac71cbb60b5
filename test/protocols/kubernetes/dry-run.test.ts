import { describe, expect, test } from 'vitest'
import { readTarget } from '../../../gateway/http-relay/target.ts'
import { readDryRun } from '../../../gateway/protocols/kubernetes/dry-run.ts'
import { readRequestInfo } from '../../../gateway/protocols/kubernetes/request-info.ts'
import { deleteOptions } from './delete-options.ts'

const json = 'application/json'
const protobuf = 'application/vnd.kubernetes.protobuf'

function read(method: string, path: string, body: string | Buffer = '', type: string = json) {
  const target = readTarget(`/k8s/prod${path}`, '/k8s')
  const info = readRequestInfo(method, target)
  return readDryRun(info, target, { body: Buffer.from(body), type, vouched: ['shop.example.com'] })
}

const configMap = '/api/v1/namespaces/shop/configmaps/a'

describe('in the query', () => {
  test.each(['POST', 'PUT', 'PATCH', 'DELETE'])('%s with dryRun=All is one', (method) => {
    expect(read(method, `${configMap}?fieldManager=x&dryRun=All`)).toBe(true)
    expect(read(method, `${configMap}?dry%52un=%41ll`)).toBe(true)
    expect(read(method, configMap)).toBeUndefined()
    expect(read(method, `${configMap}?DryRun=All&dryrun=All&dryRun[]=All&dryRun%00=All`)).toBeUndefined()
  })

  test.each([
    'dryRun',
    'dryRun=',
    'dryRun=all',
    'dryRun=None',
    'dryRun=true',
    'dryRun=All,All',
    'dryRun=All+',
    'dryRun=%EF%BB%BFAll',
    'dryRun=All%00',
    'dryRun=All&dryRun=All',
    'dryRun=All&dryRun=',
    'dryRun=&dryRun=All',
  ])('%s may be one', (query) => {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
      expect(read(method, `${configMap}?${query}`)).toBeNull()
  })

  test('what reads has none', () => {
    for (const path of [configMap, '/api/v1/pods', '/metrics', '/api/v1/namespaces/shop/pods/web/exec']) {
      expect(read('GET', path)).toBeUndefined()
      expect(read('GET', `${path}?dryRun=All`)).toBeNull()
    }
  })
})

describe('in the body of a DELETE', () => {
  const both = `${configMap}?dryRun=All`

  test.each([
    '{"dryRun":["All"]}',
    ' {"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background","dryRun":["All"]} ',
    '{"dry\\u0052un":["\\u0041ll"],"preconditions":{"uid":"x"}}',
  ])('%s is one, whatever the query says', (body) => {
    expect(read('DELETE', configMap, body)).toBe(true)
    expect(read('DELETE', configMap, body, `${json}; charset=utf-8`)).toBe(true)
    expect(read('DELETE', `${configMap}?dryRun=None`, body)).toBe(true)
  })

  test.each(['{}', '{"dryRun":[]}', '{"kind":"DeleteOptions","gracePeriodSeconds":0}'])(
    '%s is none, and what the query says is not heard',
    (body) => {
      expect(read('DELETE', configMap, body)).toBeUndefined()
      expect(read('DELETE', both, body)).toBeNull()
    },
  )

  test.each([
    '{"dryRun":["All","All"]}',
    '{"dryRun":["All",""]}',
    '{"dryRun":[["All"]]}',
    '{"dryRun":"All"}',
    '{"dryRun":null}',
    '{"dryRun":true}',
    '{"dryRun":["all"]}',
    '{"dryRun":["All"],"dryRun":[]}',
    '{"dryRun":["All"],"DryRun":[]}',
    '{"DryRun":["All"]}',
    // A name that a reader by hashes may take for another.
    '{"dryRun":["All"],"x":[]}',
    '{"dryRun":["All"]}{}',
    '\u{feff}{"dryRun":["All"]}',
    '[{"dryRun":["All"]}]',
    '"dryRun"',
    'dryRun: [All]',
    ' ',
  ])('%s may be one', (body) => {
    expect(read('DELETE', configMap, body)).toBeNull()
    expect(read('DELETE', both, body)).toBeNull()
  })

  test.each(['', 'application/yaml', 'application/json-patch+json', 'text/json', 'application/cbor'])(
    'of the type %j it may be one',
    (type) => expect(read('DELETE', both, '{"dryRun":["All"]}', type)).toBeNull(),
  )

  test('protobuf is read by its fields', () => {
    const of = (...fields: [number, string][]) => read('DELETE', configMap, deleteOptions(fields), protobuf)
    expect(of([5, 'All'])).toBe(true)
    expect(of([4, 'Background'], [5, 'All'])).toBe(true)
    expect(of([4, 'Background'])).toBeUndefined()
    for (const fields of [
      [[5, '']],
      [[5, 'all']],
      [
        [5, 'All'],
        [5, 'All'],
      ],
      [
        [5, 'All'],
        [7, 'x'],
      ],
    ] satisfies [number, string][][])
      expect(of(...fields)).toBeNull()
    expect(read('DELETE', configMap, deleteOptions([[5, 'All']], 'ListOptions'), protobuf)).toBeNull()
    expect(read('DELETE', configMap, 'k8s', protobuf)).toBeNull()
    expect(read('DELETE', configMap, deleteOptions([[5, 'All']]), json)).toBeNull()
  })

  test('a collection is deleted by the same options', () => {
    const all = '/api/v1/namespaces/shop/configmaps'
    expect(read('DELETE', all, '{"dryRun":["All"]}')).toBe(true)
    expect(read('DELETE', `${all}?dryRun=All`, '{}')).toBeNull()
  })
})

test.each([
  ['POST', '/api/v1/namespaces/shop/pods/web/exec'],
  ['POST', '/api/v1/namespaces/shop/pods/web/eviction'],
  ['POST', '/api/v1/namespaces/shop/pods/web/binding'],
  ['POST', '/api/v1/namespaces/shop/bindings'],
  ['POST', '/api/v1/namespaces/shop/serviceaccounts/ci/token'],
  ['POST', '/api/v1/namespaces/shop/services/web/proxy/orders'],
  ['PUT', '/api/v1/nodes/n/proxy/run'],
  ['PUT', '/api/v1/namespaces/shop/finalize'],
  ['PATCH', '/apis/apps/v1/namespaces/shop/deployments/web/scale'],
  ['PATCH', '/apis/shop.example.com/v1/namespaces/shop/carts/a/status'],
  ['POST', '/apis/authentication.k8s.io/v1/tokenreviews'],
  ['POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews'],
  ['POST', '/apis/metrics.k8s.io/v1beta1/pods'],
  ['PATCH', '/apis/cert-manager.io/v1/namespaces/shop/certificates/web'],
  ['PATCH', '/apis/APPS/v1/namespaces/shop/deployments/web'],
  ['POST', '/logs'],
])('%s %s may change something all the same', (method, path) => {
  expect(read(method, `${path}?dryRun=All`)).toBeNull()
  expect(read(method, path)).toBeUndefined()
})

test('groups are vouched for by name', () => {
  expect(read('PATCH', '/apis/shop.example.com/v1/namespaces/shop/carts/a?dryRun=All')).toBe(true)
})
