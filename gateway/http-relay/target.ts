import { Refused } from '../core/errors.ts'

/** Where a request leads, in canonical form: what is decided on is what is sent. */
export interface Target {
  readonly connection: string
  /** Begins with a slash; below the connection's base. */
  readonly path: string
  /** From `?` on, byte for byte; empty when there is none. */
  readonly query: string
}

const TARGET_CAP = 8192
const MOST_KNOWN = 1024
const LONGEST_KNOWN = 512

/** Reads targets below one prefix; those that come again and again are read once. */
export class Targets {
  readonly #prefix: string
  readonly #known = new Map<string, Target>()

  constructor(prefix: string) {
    this.#prefix = prefix
  }

  /** As `readTarget`. */
  read(text: string): Target {
    const known = this.#known.get(text)
    if (known !== undefined) return known
    const target = readTarget(text, this.#prefix)
    if (text.length > LONGEST_KNOWN) return target
    if (this.#known.size >= MOST_KNOWN) this.#known.clear()
    this.#known.set(text, target)
    return target
  }
}

/**
 * Reads `PREFIX/CONNECTION/PATH?QUERY`; `prefix` is `/http` or the like. Escapes of characters that need none (RFC 3986 §6.2.2.2 and the rest of pchar) are
 * undone and the others written in capitals; whatever two servers could read in two ways is refused. Throws `Refused`.
 */
export function readTarget(text: string, prefix: string): Target {
  if (text.length > TARGET_CAP) throw refuse(`it is longer than ${TARGET_CAP} bytes`)
  if (!/^[\x21-\x7e]*$/.test(text)) throw refuse('it holds bytes that a URL may not hold')
  if (text.includes('#')) throw refuse('it holds a fragment')
  const [, connection = '', rest = '', query = ''] = text.startsWith(`${prefix}/`)
    ? (/^\/([\w.-]{1,64})(\/[^?]*)?(\?.*)?$/.exec(text.slice(prefix.length)) ?? [])
    : []
  if (connection === '' || connection === '.' || connection === '..')
    throw refuse(`it does not begin with ${prefix}/CONNECTION/`)
  return { connection, path: canonical(rest === '' ? '/' : rest), query }
}

function canonical(path: string): string {
  const segments = path.slice(1).split('/').flatMap(unscoped)
  for (const [index, segment] of segments.entries())
    if (segment === '' && index < segments.length - 1) throw refuse('it holds an empty segment (//)')
  return `/${segments.map(canonicalSegment).join('/')}`
}

/**
 * npm asks for `@scope/name` as `@scope%2fname`. To a registry both are one, so it is taken for two segments, decided on and sent
 * as such: no escaped slash goes on.
 */
function unscoped(segment: string): string[] {
  const [, scope, name] = /^(?:@|%40)([\w.~-]+)%2f(.+)$/i.exec(segment) ?? []
  return scope === undefined || name === undefined ? [segment] : [`@${scope}`, name]
}

/** RFC 3986 §3.3, without `;`: some servers cut a segment there, and others do not. */
const plain = /^[\w.~!$&'()*+,=:@-]$/

const wholly = /^[\w.~!$&'()*+,=:@-]*$/

function canonicalSegment(segment: string): string {
  if (wholly.test(segment) && segment !== '.' && segment !== '..') return segment
  if (/%(?![\da-f]{2})/i.test(segment)) throw refuse('it holds a percent sign that escapes nothing')
  if (/%2e/i.test(segment)) throw refuse('it holds an escaped dot')
  const decoded = decode(segment)
  if (/%[\da-f]{2}/i.test(decoded)) throw refuse('it is escaped twice')
  if (/[/\\;\p{Cc}]/u.test(decoded)) throw refuse('a segment holds a slash, backslash, semicolon or control')
  if (decoded === '.' || decoded === '..') throw refuse('it holds a dot segment')
  // A server that folds characters would see another path: a fullwidth slash becomes a slash.
  if (decoded.normalize('NFKC') !== decoded)
    throw refuse('it holds characters that can be written in two ways')
  return Array.from(decoded, (character) =>
    plain.test(character) ? character : encodeURIComponent(character),
  ).join('')
}

function decode(segment: string): string {
  for (const raw of segment.replaceAll(/%[\da-f]{2}/gi, ''))
    if (!plain.test(raw)) throw refuse(`it holds ${JSON.stringify(raw)}, which has to be escaped or left out`)
  try {
    return decodeURIComponent(segment)
  } catch (cause) {
    throw refuse('its escapes are not UTF-8', { cause })
  }
}

function refuse(what: string, options?: ErrorOptions): Refused {
  return new Refused(
    'invalid_request',
    `the request target cannot be read in one way only: ${what}`,
    'send a path as RFC 3986 has it, below the connection’s name: CONNECTION/PATH?QUERY',
    options,
  )
}
