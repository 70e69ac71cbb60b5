import type { JsonWebKey } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { GatewayError } from '../core/errors.ts'
import { createCast } from './cast.ts'
import { keyFinder } from './files.ts'
import { readChain, type ReadEvent } from './read-chain.ts'

export interface ReplayOptions {
  /** The gateway's recording keys: what does not verify is not shown. */
  readonly keys: readonly JsonWebKey[]
  /** Lines that say what released bytes of a protocol show. */
  readonly describe: (protocol: string, bytes: Uint8Array) => string[]
  /** Times as fast as it happened; `Infinity` does not wait. */
  readonly speed: number
  /** Takes a line, without its newline and free of control characters. */
  readonly write: (line: string) => void
  readonly signal?: AbortSignal
  /** Waits some milliseconds; by the clock when absent. */
  readonly wait?: (milliseconds: number) => Promise<unknown>
}

/** Writes one stream of a recording as an asciicast (version 2), as far as the recording verifies; false when it has no such stream. */
export async function exportCast(
  path: string,
  options: Pick<ReplayOptions, 'keys' | 'write'> & { readonly channel: number },
): Promise<boolean> {
  const cast = createCast()
  let found = false
  for await (const part of readChain(path, null, keyFinder(options.keys))) {
    if (part.kind === 'fault') {
      if (part.torn) break
      throw new GatewayError('recording_failed', `${path}, line ${part.fault.line}: ${part.fault.why}`)
    }
    if (part.kind === 'signature') continue
    for (const { at, event } of part.events) {
      if (event.kind !== 'lane' || event.channel !== options.channel) continue
      found = true
      for (const line of cast.take(event, at)) options.write(line)
    }
  }
  return found
}

/** Nobody wants to sit through a lunch break. */
const longestPause = 3000

/** Plays a recording: requests, decisions, approvals with who, answers. Throws `GatewayError` at the first record that does not verify; one that only stops too early says so and ends. */
export async function replay(path: string, options: ReplayOptions): Promise<void> {
  const { speed, write, signal } = options
  const wait = options.wait ?? ((milliseconds) => sleep(milliseconds, undefined, signal && { signal }))
  let protocol = ''
  let from: number | null = null
  let last = 0
  for await (const part of readChain(path, null, keyFinder(options.keys))) {
    if (part.kind === 'fault') {
      const { line, offset, why } = part.fault
      if (part.torn) return write(`the recording stops here: ${why}`)
      throw new GatewayError('recording_failed', `${path}, line ${line} (byte ${offset}): ${why}`)
    }
    if (part.kind === 'signature') continue
    for (const event of part.events) {
      from ??= event.at
      const pause = from === event.at ? 0 : Math.min(longestPause, Math.max(0, event.at - last) / speed)
      if (pause >= 1) await wait(pause)
      last = event.at
      if (event.event.kind === 'start') protocol = String(event.event.protocol)
      const time = `${((event.at - from) / 1000).toFixed(3).padStart(9)}  `
      for (const [index, line] of linesOf(event, protocol, options).entries()) {
        write(`${index === 0 ? time : ' '.repeat(time.length)}${printable(line)}`)
      }
    }
  }
}

/** Text from clients and targets without what a terminal would obey: controls (C0, C1, DEL) and reordering (Unicode TR 36 §2.10) are shown as escapes. */
export function printable(text: string): string {
  let shown = ''
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0
    const obeyed =
      code < 0x20 ||
      (code >= 0x7f && code < 0xa0) ||
      (code >= 0x200b && code <= 0x200f) ||
      (code >= 0x2028 && code <= 0x202e) ||
      (code >= 0x2060 && code <= 0x206f) ||
      code === 0xfeff
    shown += obeyed ? `\\u${code.toString(16).padStart(4, '0')}` : character
  }
  return shown
}

function linesOf(
  { at, event }: ReadEvent,
  protocol: string,
  { describe }: Pick<ReplayOptions, 'describe'>,
): string[] {
  const text = (name: string): string => textOf(event[name])
  switch (event.kind) {
    case 'start': {
      const chain = list(event.chain).map((level) => `${String(level.stage)} (${String(level.id)})`)
      return [
        `session ${text('session')} of ${chain.join(' > ')} on ${text('connection')}, ${new Date(at).toISOString()}`,
      ]
    }
    case 'request': {
      const what = typeof event.same === 'number' ? `(as record ${event.same})` : text('text')
      const [first = '', ...more] = what.split('\n')
      const values =
        Array.isArray(event.parameters) && event.parameters.length > 0
          ? [`with ${JSON.stringify(event.parameters)}`]
          : []
      const why = event.why === undefined ? '' : `: ${text('why')}`
      return [
        `> ${first}`,
        ...more.map((line) => `  ${line}`),
        ...values,
        `[${text('effect')}] ${text('rule')}${why}`,
      ]
    }
    case 'asked':
      return [
        `held: approval ${text('approval')} is asked of ${Array.isArray(event.by) ? event.by.join(', ') : ''}`,
      ]
    case 'unasked':
      return [`refused: ${text('code')}: ${text('why')}`]
    case 'answered': {
      const people = list(event.answers).map(
        (one) =>
          `${String(one.person)} (${String(one.group)}, by ${String(one.gate)}): ${String(one.answer)} ${textOf(one.reason)}`,
      )
      return [`approval ${text('approval')} ${text('state')}`, ...people.map((line) => line.trimEnd())]
    }
    case 'answer': {
      const beyond: Record<string, unknown> = Object(event.beyond)
      if (event.beyond !== undefined)
        return [`< … and ${String(beyond.bytes)} bytes that were not kept (SHA-256 ${String(beyond.sha256)})`]
      return describe(protocol, Buffer.from(text('data'), 'base64'))
        .flatMap((line) => line.split('\n'))
        .map((line) => `< ${line}`)
    }
    case 'lane':
      return laneLines(event)
    case 'end':
      return [
        `end: ${text('why')} (${text('allowed')} allowed, ${text('held')} held, ${text('denied')} denied, ${text('masked')} values masked)`,
      ]
    default:
      return [JSON.stringify(event)]
  }
}

/** What happened on one of several streams; a terminal's escape sequences are left out, so that lines can be read. */
function laneLines(event: Record<string, unknown>): string[] {
  const channel = `#${textOf(event.channel)}`
  switch (event.what) {
    case 'opened':
      return [`${channel} ${textOf(event.name)} opened`]
    case 'data': {
      const text = stripVTControlCharacters(Buffer.from(textOf(event.data), 'base64').toString())
      const mark = event.code === 'i' ? '>' : event.code === 'e' ? '!' : '<'
      return text
        .split(/\r?\n|\r/)
        .filter((line) => line !== '')
        .map((line) => `${channel} ${mark} ${line}`)
    }
    case 'resized':
      return [`${channel} resized to ${textOf(event.columns)}x${textOf(event.rows)}`]
    case 'port':
      return [`${channel} port ${textOf(event.port)}`]
    case 'signal':
      return [`${channel} signal ${textOf(event.name)}`]
    case 'file':
      return [
        `${channel} file ${textOf(event.path)} (read ${passed(event.read)}, written ${passed(event.written)})`,
      ]
    case 'refs':
      return list(event.updates).map(
        (one) => `${channel} push ${textOf(one.ref)} from ${textOf(one.old)} to ${textOf(one.new)}`,
      )
    case 'pushed':
      return list(event.refs).map((one) => `${channel} pushed ${textOf(one.ref)}: ${textOf(one.outcome)}`)
    case 'wants':
      return [`${channel} fetch ${Array.isArray(event.objects) ? event.objects.map(textOf).join(' ') : ''}`]
    case 'pack':
      return [`${channel} pack ${textOf(event.way)} (${passed(event)})`]
    case 'closed':
      return [
        `${channel} closed, exit ${textOf(event.exit)} (sent ${passed(event.sent)}, out ${passed(event.out)}, err ${passed(event.err)})`,
      ]
    default:
      return [JSON.stringify(event)]
  }
}

function passed(value: unknown): string {
  const { bytes, sha256 }: Record<string, unknown> = Object(value)
  return bytes === 0 || typeof sha256 !== 'string'
    ? `${textOf(bytes)} bytes`
    : `${textOf(bytes)} bytes, SHA-256 ${sha256}`
}

function textOf(value: unknown): string {
  return typeof value === 'string'
    ? value
    : value === undefined || value === null
      ? ''
      : JSON.stringify(value)
}

function list(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.map((one) => Object(one)) : []
}
