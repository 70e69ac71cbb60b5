import { isUtf8 } from 'node:buffer'
import { Refused } from '../../core/errors.ts'
import type { Column, Meaning, Operation, Request } from '../../core/operation.ts'
import { harmlessSettings, plannerSettings } from '../../sql/session-settings.ts'
import { Back, Reader, int32, message } from './codec.ts'

/** What PostgreSQL itself accepts (MAX_STARTUP_PACKET_LENGTH). */
export const STARTUP_CAP = 10_000

/** A start-up message as the client sent it, checked. */
export interface StartUp {
  readonly user: string
  /** Null where the client named none, or named what libpq takes for want of one: the user. */
  readonly database: string | null
  /** Settings asked for, `options` taken apart; in the order they came. */
  readonly settings: ReadonlyMap<string, string>
  /** `_pq_.` options that the gateway does not know. */
  readonly unknownOptions: readonly string[]
  /** 0 for version 3.0, 2 for 3.2. */
  readonly minor: number
}

/**
 * Reads a start-up message's body. Throws `Refused`.
 *
 *     +----------------+-----------------+------------------+-----+----+
 *     | length (int32) | version (int32) | name \0 value \0 | ... | \0 |
 *     +----------------+-----------------+------------------+-----+----+
 */
export function readStartUp(body: Buffer): StartUp {
  const version = body.readUInt32BE(0)
  if (version >>> 16 !== 3) {
    throw new Refused(
      'unsupported',
      `protocol version ${version >>> 16}.${version & 0xffff} is not spoken here`,
      'use a client that speaks version 3 of the PostgreSQL protocol',
    )
  }
  const pairs = readPairs(body)
  const user = pairs.get('user') ?? ''
  if (user === '') {
    throw new Refused(
      'invalid_request',
      'the start-up message names no user',
      'connect as the name of a connection',
    )
  }
  const replication = pairs.get('replication')
  if (replication !== undefined && !/^(false|off|no|0)$/i.test(replication)) {
    throw new Refused(
      'unsupported',
      'replication is not carried',
      'connect without the parameter `replication`',
    )
  }
  const settings = new Map<string, string>()
  for (const [name, value] of pairs) {
    if (['user', 'database', 'replication', 'options'].includes(name) || name.startsWith('_pq_.')) continue
    settings.set(name, value)
  }
  for (const [name, value] of readOptions(pairs.get('options') ?? '')) {
    if (settings.has(name)) throw twice(name)
    settings.set(name, value)
  }
  const database = pairs.get('database') ?? ''
  return {
    user,
    database: database === '' || database === user ? null : database,
    settings,
    unknownOptions: [...pairs.keys()].filter((name) => name.startsWith('_pq_.')),
    minor: version & 0xffff,
  }
}

function readPairs(body: Buffer): Map<string, string> {
  const reader = new Reader(body, 4, body.length)
  const pairs = new Map<string, string>()
  for (let name = reader.string(); name.length > 0; name = reader.string()) {
    const value = reader.string()
    if (!isUtf8(name) || !isUtf8(value)) {
      throw new Refused(
        'protocol_violation',
        'a start-up parameter is not UTF-8',
        'send start-up parameters in UTF-8',
      )
    }
    const key = name.toString()
    // The server takes the last of two; whoever checks the first has checked nothing.
    if (pairs.has(key)) throw twice(key)
    pairs.set(key, value.toString())
  }
  reader.done()
  return pairs
}

function twice(name: string): Refused {
  const shown = JSON.stringify(name.slice(0, 64))
  return new Refused('protocol_violation', `the start-up parameter ${shown} is given twice`, 'give it once')
}

/** The command line in `options`: words split at spaces, `\` before a space or a `\` (pg_split_opts). Only settings are taken. */
function* readOptions(text: string): Generator<[string, string]> {
  const words = [...text.matchAll(/(?:\\[\s\S]|[^\s\\])+/g)].map(([word]) =>
    word.replace(/\\([\s\S])/g, '$1'),
  )
  for (let index = 0; index < words.length; index++) {
    let word = words[index] ?? ''
    if (word === '-c') word = `-c${words[++index] ?? ''}`
    const setting = /^(?:-c|--)([A-Za-z_][\w.-]*)=([\s\S]*)$/.exec(word)
    if (setting === null) {
      throw new Refused(
        'unsupported',
        `the start-up option ${JSON.stringify(word.slice(0, 64))} is not carried`,
        'use only `-c NAME=VALUE` in options',
      )
    }
    yield [(setting[1] ?? '').replaceAll('-', '_'), setting[2] ?? '']
  }
}

/** The settings that need a rule, as a request; null where all of them are harmless. */
export function settingsRequest(settings: ReadonlyMap<string, string>): Request | null {
  const operations: Operation[] = []
  const text: string[] = []
  const probes: Column[] = []
  for (const [name, value] of settings) {
    const setting = name.toLowerCase()
    if (plannerSettings.has(setting)) {
      probes.push('*.*.*')
      text.push(`SET ${setting} = '${value.replaceAll("'", "''")}'`)
      continue
    }
    // What psql asks for on a terminal without a language: bytes go as they are, and texts beyond ASCII are refused where that matters.
    if (setting === 'client_encoding' && /^sql_?ascii$/i.test(value)) continue
    if (harmlessSettings.get(setting)?.test(value) ?? false) continue
    const actions: Operation['actions'] =
      setting === 'role' || setting === 'session_authorization'
        ? ['set-role', 'set', 'admin']
        : ['set', 'admin']
    operations.push({ actions, resource: setting, reads: false })
    text.push(`SET ${setting} = '${value.replaceAll("'", "''")}'`)
  }
  if (text.length === 0) return null
  const meaning: Meaning = {
    operations,
    relations: [],
    results: text.map(() => null),
    probes,
    spans: [],
    parameters: [],
  }
  return { meaning, text: text.join('; '), parameters: [] }
}

/** NegotiateProtocolVersion: int32 newest minor version, int32 count, the names of options that are not known. */
export function negotiateMessage(unknownOptions: readonly string[]): Buffer {
  const names = unknownOptions.map((name) => Buffer.from(`${name}\0`))
  return message(Back.negotiateProtocolVersion, int32(0), int32(unknownOptions.length), ...names)
}
