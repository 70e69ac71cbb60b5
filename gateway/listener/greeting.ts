// How clients of each protocol start. Nothing here is read twice: the bytes go to the protocol untouched.

/** Whether bytes are how a protocol starts: `more` while they could still become it. */
export type Recognition = 'yes' | 'no' | 'more'

/** One entry of the table of protocols. `bytes` holds what came so far, at least one byte. */
export interface Greeting<Name extends string = string> {
  readonly name: Name
  recognise(bytes: Uint8Array): Recognition
}

export type GreetingName = 'tls' | 'postgres' | 'postgres-tls' | 'ssh' | 'http'

/** TLS: a handshake record (RFC 8446 §5.1): 16, then the record's version 03 xx. */
const tls: Greeting<'tls'> = {
  name: 'tls',
  recognise: (bytes) => {
    if (bytes[0] !== 0x16) return 'no'
    if (bytes.length < 2) return 'more'
    return bytes[1] === 0x03 ? 'yes' : 'no'
  },
}

const SHORTEST_STARTUP = 8
/** What PostgreSQL itself accepts (MAX_STARTUP_PACKET_LENGTH). */
const LONGEST_STARTUP = 10_000

/**
 * PostgreSQL (protocol §54.2): a length that counts itself, then a code or a protocol version.
 *
 *     00 00 hh ll | 00 03 mm mm   StartupMessage, version 3.m
 *     00 00 hh ll | 04 d2 16 2e   CancelRequest
 */
const postgres: Greeting<'postgres'> = {
  name: 'postgres',
  recognise: (bytes) => {
    const startups = [startup, cancel]
    const known = bytes.subarray(0, 8)
    if (known.length < 8) return startups.some((start) => begins(known, start)) ? 'more' : 'no'
    const length = ((known[2] ?? 0) << 8) | (known[3] ?? 0)
    if (length < SHORTEST_STARTUP || length > LONGEST_STARTUP) return 'no'
    return startups.some((start) => begins(known, start)) ? 'yes' : 'no'
  },
}

/**
 * The same with a request for encryption first, after which the client waits for one byte.
 *
 *     00 00 00 08 | 04 d2 16 2f   SSLRequest
 *     00 00 00 08 | 04 d2 16 30   GSSENCRequest
 */
const postgresTls: Greeting<'postgres-tls'> = {
  name: 'postgres-tls',
  recognise: (bytes) => {
    const known = bytes.subarray(0, 8)
    if (!begins(known, ssl) && !begins(known, gss)) return 'no'
    return known.length < 8 ? 'more' : 'yes'
  },
}

type Pattern = readonly (number | null)[]

const startup: Pattern = [0, 0, null, null, 0, 3, null, null]
const cancel: Pattern = [0, 0, null, null, 0x04, 0xd2, 0x16, 0x2e]
const ssl: Pattern = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]
const gss: Pattern = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]

function begins(bytes: Uint8Array, pattern: Pattern): boolean {
  return pattern.every((want, index) => want === null || index >= bytes.length || bytes[index] === want)
}

/** SSH: the version line (RFC 4253 §4.2). */
const ssh: Greeting<'ssh'> = { name: 'ssh', recognise: (bytes) => startsWith(bytes, 'SSH-') }

const methods = [
  'GET ',
  'HEAD ',
  'POST ',
  'PUT ',
  'PATCH ',
  'DELETE ',
  'OPTIONS ',
  'CONNECT ',
  'TRACE ',
  'PRI ',
]

/** HTTP without TLS: answered only with the news that it has to be https. */
const http: Greeting<'http'> = {
  name: 'http',
  recognise: (bytes) => {
    const found = methods.map((method) => startsWith(bytes, method))
    return found.includes('yes') ? 'yes' : found.includes('more') ? 'more' : 'no'
  },
}

function startsWith(bytes: Uint8Array, text: string): Recognition {
  for (let index = 0; index < text.length; index++) {
    if (index >= bytes.length) return 'more'
    if (bytes[index] !== text.charCodeAt(index)) return 'no'
  }
  return 'yes'
}

/** Everything that a first byte may mean; no two entries recognise the same bytes. */
export const greetings: readonly Greeting<GreetingName>[] = [tls, postgres, postgresTls, ssh, http]

/** Which of the greetings the bytes start: null when none, `more` while that cannot be told (at most 8 bytes). */
export function recognise<Name extends string>(
  bytes: Uint8Array,
  among: readonly Greeting<Name>[],
): Name | 'more' | null {
  let open = false
  for (const greeting of among) {
    const found = greeting.recognise(bytes)
    if (found === 'yes') return greeting.name
    if (found === 'more') open = true
  }
  return open ? 'more' : null
}
