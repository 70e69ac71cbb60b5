import type { Random } from '../policy/random.ts'
import { deleteOptions } from '../protocols/kubernetes/delete-options.ts'

/** A change that may say that it is a dry run, in its query or its body. */
export interface OddDryRun {
  readonly method: string
  readonly query: string
  readonly type: string
  readonly body: Buffer
}

const pairs = [
  ...Array.from({ length: 8 }, () => 'dryRun=All'),
  ...`dryRun dryRun= dryRun=all dryRun=None dryRun=All,All dryRun=All%00 dryRun=%EF%BB%BFAll dryRun=+All DryRun=All
  dryrun=All dryRun[]=All dry%52un=All dryRun=%41ll +dryRun=All dryRun%00=All fieldManager=odd timeout=9s
  gracePeriodSeconds=0 propagationPolicy=Background`.split(/\s+/),
]
const members = [
  ...Array.from({ length: 6 }, () => '"dryRun":["All"]'),
  '"dryRun":[]',
  '"dryRun":null',
  '"dryRun":"All"',
  '"dryRun":["All","All"]',
  '"dryRun":["all"]',
  '"dryRun":[""]',
  '"dryRun":{"0":"All"}',
  '"DryRun":["All"]',
  '"dryrun":[]',
  '"dry\\u0052un":["All"]',
  '"dryRun":["\\u0041ll"]',
  '"dryRun\\u0000":["All"]',
  '"kind":"DeleteOptions"',
  '"apiVersion":"v1"',
  '"apiVersion":"meta.k8s.io/v1"',
  '"gracePeriodSeconds":0',
  '"propagationPolicy":"Background"',
  '"preconditions":{"dryRun":["All"]}',
  '"x":{"dryRun":[]}',
  '"__proto__":{"dryRun":["All"]}',
]
const yaml = ['dryRun: [All]', 'dryRun:\n- All', 'dryRun: []', '{"dryRun":["All"]}', '{}']
const fields: readonly (readonly [number, string])[] = [
  [5, 'All'],
  [5, 'All'],
  [5, 'All'],
  [5, ''],
  [5, 'all'],
  [4, 'Background'],
  [7, 'All'],
  [9, 'x'],
]
const types = [
  ...Array.from({ length: 8 }, () => 'application/json'),
  'application/json; charset=utf-8',
  'APPLICATION/JSON',
  'application/yaml',
  'application/vnd.kubernetes.protobuf',
  'application/vnd.kubernetes.protobuf',
  'application/json-patch+json',
]

/** One at random; of a DELETE more often than not, whose options may stand in its body. */
export function oddDryRun(random: Random): OddDryRun {
  const method = random.pick(['DELETE', 'DELETE', 'DELETE', 'DELETE', 'POST', 'PUT', 'PATCH'])
  const said = Array.from({ length: random.below(3) }, () => random.pick(pairs))
  const query = said.length === 0 ? '' : `?${said.join('&')}`
  if (method === 'PATCH')
    return { method, query, type: 'application/merge-patch+json', body: Buffer.from('{"data":{"a":"c"}}') }
  if (method !== 'DELETE')
    return {
      method,
      query,
      type: 'application/json',
      body: Buffer.from(
        JSON.stringify({ metadata: { name: method === 'PUT' ? 'odd' : 'made' }, data: { a: 'c' } }),
      ),
    }
  const type = random.pick(types)
  return { method, query, type, body: random.chance(4) ? Buffer.alloc(0) : bodyOf(random, type) }
}

function bodyOf(random: Random, type: string): Buffer {
  if (random.chance(20)) return Buffer.from(random.pick([' ', '{', 'null', '[]', '\u{feff}{}', 'k8s\0']))
  if (type.includes('protobuf'))
    return deleteOptions(
      Array.from({ length: random.below(4) }, () => random.pick(fields)),
      random.pick(['DeleteOptions', 'DeleteOptions', 'DeleteOptions', '', 'ListOptions']),
    )
  if (type.includes('yaml')) return Buffer.from(random.pick(yaml))
  const after = random.chance(12) ? random.pick([' ', ',', '{}', '\n{"dryRun":[]}']) : ''
  return Buffer.from(`{${random.some(members, 4).join(',')}}${after}`)
}
