import type { RequestInfo } from './request-info.ts'

// The API server speaks JSON, YAML, protobuf and CBOR; the gateway reads JSON. Clients that ask for another form get
// JSON, which they read as well: client libraries decode by the answer's Content-Type, and JSON is YAML.

const unread = /protobuf|cbor|yaml/i

/** What is asked for upstream in place of the client's Accept; null where that may stand. */
export function acceptOf(accept: string | undefined, info: RequestInfo): string | null {
  if (accept === undefined || isSchema(info) || !unread.test(accept)) return null
  const kept = accept.split(',').filter((range) => !unread.test(range))
  return kept.length === 0 ? 'application/json' : kept.map((range) => range.trim()).join(',')
}

/** True for a form that the gateway does not read. */
export function isUnread(type: string, info: RequestInfo): boolean {
  return /protobuf|cbor/i.test(type) && !isSchema(info)
}

/** The API's description holds no objects, and kubectl reads its second version as protobuf only. */
function isSchema(info: RequestInfo): boolean {
  return info.kind === 'path' && /^\/openapi\/v[23](?:\/|$)/.test(info.path)
}
