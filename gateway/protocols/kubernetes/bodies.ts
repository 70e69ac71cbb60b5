import { Refused } from '../../core/errors.ts'
import { type Field, readFields, readObject, showObject, within } from './protobuf.ts'

/** More than the API server takes (its MaxRequestBodyBytes is 3 MiB). */
export const BODY_CAP = 3_276_800

/** How everything begins that stands for a masked value. */
const marked = '[redacted'
const encodedMarked = Buffer.from(marked).toString('base64')

/** Refuses a body that holds what a mask or detector put in place of a value: it would overwrite the value with that. */
export function refuseMasked(body: Buffer): void {
  if (!body.includes(`${marked}:`) && !body.includes(encodedMarked)) return
  throw new Refused(
    'denied',
    'the body holds values that were masked on their way out: applying it would overwrite the real ones',
    'leave those fields out, or send a patch of what changes alone',
  )
}

/** What a body says. `shown` is the body as people may read it, where it is no text itself. */
export interface Body {
  /** The object's name, where it says one. */
  readonly name?: string
  /** The `spec` of a review, by the names that its JSON form has. */
  readonly review?: unknown
  /** What was JSON; undefined for anything else. */
  readonly json?: unknown
  readonly show?: (body: Uint8Array) => Uint8Array
}

/** Reads a body by its content type. Throws `Refused` on what could pass unread. */
export function readBody(body: Buffer, type: string): Body {
  if (body.byteLength === 0) return {}
  if (/[/+]json\b/.test(type)) {
    const json = parse(body)
    const name = memberOf(memberOf(json, 'metadata'), 'name')
    return { json, review: memberOf(json, 'spec'), ...(typeof name === 'string' && { name }) }
  }
  if (type.startsWith('application/vnd.kubernetes.protobuf')) {
    const object = readObject(body)
    if (object === null) throw notRead('its protobuf is no Kubernetes object')
    const name = textAt(object.fields, 1, 1)
    return { review: reviewIn(object.fields), show: showObject, ...(name !== '' && { name }) }
  }
  if (/\byaml\b|^$|^\*\/\*|^application\/x-www-form-urlencoded/.test(type)) return {}
  throw notRead(`${type.slice(0, 64)} is a form that the gateway does not read`)
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    // Whatever the cluster makes of it, the gateway reads nothing out of it.
    return undefined
  }
}

/** SelfSubjectAccessReviewSpec: 1 resourceAttributes, 2 nonResourceAttributes (k8s.io/api/authorization/v1). */
function reviewIn(object: readonly Field[]): unknown {
  const spec = readFields(within(object, 2) ?? Buffer.alloc(0)) ?? []
  const named = (fields: readonly string[], number: number): object | undefined => {
    const found = within(spec, number)
    if (found === undefined) return undefined
    return Object.fromEntries(fields.map((name, index) => [name, textAt(spec, number, index + 1)]))
  }
  return {
    resourceAttributes: named(
      ['namespace', 'verb', 'group', 'version', 'resource', 'subresource', 'name'],
      1,
    ),
    nonResourceAttributes: named(['path', 'verb'], 2),
  }
}

/** The text of a field within a field, or empty. */
function textAt(fields: readonly Field[], outer: number, inner: number): string {
  const message = readFields(within(fields, outer) ?? Buffer.alloc(0))
  return message === null ? '' : (within(message, inner)?.toString() ?? '')
}

/** As the API server has it of a form that it does not read: client-go, which may begin with CBOR, then sends JSON. */
function notRead(what: string): Refused {
  return new Refused(
    'unsupported_type',
    `a body that cannot be read is not let through: ${what}`,
    'send JSON',
  )
}

/** True for a JSON patch (RFC 6902) that compares or moves values, whether or not it could be read. */
export function movesValues(body: unknown, type: string): boolean {
  if (!type.startsWith('application/json-patch')) return false
  if (!Array.isArray(body)) return true
  return !body.every((step) => ['add', 'replace', 'remove'].includes(String(memberOf(step, 'op'))))
}

/** A member of an object, own ones only. */
export function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return Object.getOwnPropertyDescriptor(value, name)?.value
}
