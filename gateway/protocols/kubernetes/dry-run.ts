import { dryRunVerbs, keepsToDryRun } from '../../core/dry-run.ts'
import { readJson } from '../../core/json.ts'
import type { Operation } from '../../core/operation.ts'
import type { Target } from '../../http-relay/target.ts'
import { resourceOf } from './operations.ts'
import { readObject } from './protobuf.ts'
import { type RequestInfo, readQuery } from './request-info.ts'

/** All that DeleteOptions has (k8s.io/apimachinery/pkg/apis/meta/v1), with its field numbers in protobuf, of which 5 is dryRun. */
const deleteOptions: ReadonlySet<string> = new Set(
  `kind apiVersion gracePeriodSeconds preconditions orphanDependents propagationPolicy dryRun
  ignoreStoreReadErrorWithClusterBreakingPotential`.split(/\s+/),
)
const DRY_RUN_FIELD = 5
const LAST_FIELD = 6

/** What a request says of a dry run: nothing, that it is one, or what may be read as one. */
type Said = Operation['dryRun']

/**
 * True for what the API server is sure to take for a dry run, and to keep to; null for what says so, and yet may change something;
 * undefined for the real thing. `body` is a DELETE's: where it has one, the API server reads its options there, and none from the query.
 */
export function readDryRun(
  info: RequestInfo,
  { query }: Target,
  { body, type, vouched }: { body: Buffer; type: string; vouched: readonly string[] },
): Said {
  if (info.kind === 'path') return saidInQuery(query) === undefined ? undefined : null
  const deletes = info.verb === 'delete' || info.verb === 'deletecollection'
  const said = deletes && body.byteLength > 0 ? saidInBoth(query, body, type) : saidInQuery(query)
  if (said !== true) return said
  const keeps = info.subresource === '' && keepsToDryRun(resourceOf(info), vouched)
  return keeps && dryRunVerbs.includes(info.verb) ? true : null
}

/** `dryRun=All`, once: what the API server refuses, or another version may read otherwise, is no dry run. */
function saidInQuery(query: string): Said {
  if (query === '') return undefined
  const values = readQuery(query).getAll('dryRun')
  if (values.length === 0) return undefined
  return values.length === 1 && values[0] === 'All' ? true : null
}

/** The body counts, and what only the query says is as good as doubtful. */
function saidInBoth(query: string, body: Buffer, type: string): Said {
  const said = saidInBody(body, (type.split(';')[0] ?? '').trim())
  return said === undefined && saidInQuery(query) !== undefined ? null : said
}

function saidInBody(body: Buffer, type: string): Said {
  if (type === 'application/json') return saidInJson(body)
  if (type === 'application/vnd.kubernetes.protobuf') return saidInProtobuf(body)
  return null
}

function saidInJson(body: Buffer): Said {
  const options = readJson(body)
  // A name that is not one of its own can be read as one: in another case by some versions, by a hash that they share by others.
  if (options?.kind !== 'map' || [...options.entries.keys()].some((name) => !deleteOptions.has(name)))
    return null
  const values = options.entries.get('dryRun')
  if (values === undefined || (values.kind === 'list' && values.items.length === 0)) return undefined
  if (values.kind !== 'list' || values.items.length !== 1) return null
  const [value] = values.items
  return value?.kind === 'value' && value.readings.every((text) => text === 'All') ? true : null
}

function saidInProtobuf(body: Buffer): Said {
  const options = readObject(body)
  if (options?.kind !== 'DeleteOptions' || options.fields.some(({ number }) => number > LAST_FIELD))
    return null
  const values = options.fields.filter(({ number }) => number === DRY_RUN_FIELD)
  if (values.length === 0) return undefined
  const [{ value } = { value: 0n }] = values
  return values.length === 1 && Buffer.isBuffer(value) && value.toString('latin1') === 'All' ? true : null
}
