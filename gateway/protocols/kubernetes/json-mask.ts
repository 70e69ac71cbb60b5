import { StringDecoder } from 'node:string_decoder'
import { Refused } from '../../core/errors.ts'
import type { Filter } from '../../http-relay/dialect.ts'

/** What stands for a masked value: Secrets' data is base64, and clients decode it. */
export const marker = '[redacted:secret]'
export const encodedMarker = Buffer.from(marker).toString('base64')

/** Strings longer than this that hold an object themselves (last-applied-configuration) are masked whole, in characters. */
const NESTED_CAP = 2_097_152
/** Keys are short; depth is what a stack costs. */
const KEY_CAP = 4096
const DEPTH = 256

export interface MaskPlan {
  /** Names of members whose strings, at whatever depth below them, are masked; with what stands for them. */
  readonly members: Readonly<Record<string, string>>
  masked(): void
}

interface Level {
  readonly object: boolean
  /** What stands for strings within, or null. */
  readonly mask: string | null
  /** In an object: the member being read, and whether its value comes next. */
  key: string
  value: boolean
}

/**
 * Masks values in JSON texts, one or several in a row, as they stream by (RFC 8259): members named by the plan have
 * every string below them replaced. A string that is itself an object of JSON is masked within. Throws `Refused` on
 * what is not JSON.
 */
export class JsonMask implements Filter {
  readonly #plan: MaskPlan
  readonly #decoder = new StringDecoder('utf8')
  readonly #levels: Level[] = []
  /** The string being read, without its quotes. */
  #text: string[] = []
  #length = 0
  #in: 'value' | 'key' | 'string' | 'masked' = 'value'
  #escaped = false

  constructor(plan: MaskPlan) {
    this.#plan = plan
  }

  push(chunk: Uint8Array): Uint8Array {
    return Buffer.from(
      this.#take(this.#decoder.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))),
    )
  }

  end(): Uint8Array {
    const rest = this.#take(this.#decoder.end())
    // What was cut off in the middle (a watch that ended) had nothing released that should not have been.
    return Buffer.from(rest)
  }

  #take(text: string): string {
    let out = ''
    let at = 0
    while (at < text.length) {
      if (this.#in === 'value') {
        const next = this.#outside(text, at)
        out += text.slice(at, next.to)
        at = next.to
        if (next.opened) at++
        continue
      }
      const end = this.#endOfString(text, at)
      const part = text.slice(at, end.to)
      at = end.to
      if (this.#in !== 'masked') this.#gather(part)
      if (!end.closed) continue
      at++
      out += this.#close()
    }
    return out
  }

  /** What stands between strings, up to the next one. */
  #outside(text: string, from: number): { to: number; opened: boolean } {
    for (let at = from; at < text.length; at++) {
      const level = this.#levels.at(-1)
      switch (text.charCodeAt(at)) {
        case 0x22: {
          const key = level?.object === true && !level.value
          this.#in = key ? 'key' : this.#kindOf(level)
          this.#text = []
          this.#length = 0
          return { to: at, opened: true }
        }
        case 0x7b:
        case 0x5b:
          if (this.#levels.length >= DEPTH) throw unreadable('it is nested too deeply')
          this.#levels.push({
            object: text.charCodeAt(at) === 0x7b,
            mask: this.#maskOf(level),
            key: '',
            value: false,
          })
          break
        case 0x7d:
        case 0x5d:
          if (level?.object !== (text.charCodeAt(at) === 0x7d)) throw unreadable('a bracket closes nothing')
          this.#levels.pop()
          break
        case 0x3a:
          if (level?.object !== true || level.value) throw unreadable('a colon follows no name')
          level.value = true
          break
        case 0x2c:
          if (level === undefined) throw unreadable('a comma stands outside')
          level.value = false
          level.key = ''
          break
      }
    }
    return { to: text.length, opened: false }
  }

  /** Where the string ends in this text: at its closing quote, or not yet. */
  #endOfString(text: string, from: number): { to: number; closed: boolean } {
    for (let at = from; at < text.length; at++) {
      if (this.#escaped) {
        this.#escaped = false
        continue
      }
      const code = text.charCodeAt(at)
      if (code === 0x5c) this.#escaped = true
      else if (code === 0x22) return { to: at, closed: true }
    }
    return { to: text.length, closed: false }
  }

  #gather(part: string): void {
    this.#length += part.length
    if (this.#in === 'key' && this.#length > KEY_CAP) throw unreadable('a name in it is too long')
    if (this.#length > NESTED_CAP) this.#text = []
    else this.#text.push(part)
  }

  /** A string is over: gives what is released of it, the quotes that are still missing included. */
  #close(): string {
    const level = this.#levels.at(-1)
    const was = this.#in
    this.#in = 'value'
    if (was === 'masked') {
      this.#plan.masked()
      return JSON.stringify(this.#maskOf(level) ?? marker)
    }
    const raw = this.#text.join('')
    this.#text = []
    if (was === 'key') {
      if (level !== undefined) level.key = unescape(raw)
      return `"${raw}"`
    }
    if (this.#length <= NESTED_CAP && !/^\s*(?:\{|\[)/.test(raw)) return `"${raw}"`
    return JSON.stringify(this.#nested(this.#length > NESTED_CAP ? null : unescape(raw)))
  }

  /** An object within a string, masked; null and what is no JSON is masked whole. */
  #nested(text: string | null): string {
    if (text !== null) {
      try {
        JSON.parse(text)
        const mask = new JsonMask(this.#plan)
        const bytes = Buffer.from(text)
        return Buffer.concat([mask.push(bytes), mask.end()]).toString()
      } catch {
        // It only looked like an object; what it holds cannot be told.
      }
    }
    this.#plan.masked()
    return marker
  }

  #kindOf(level: Level | undefined): 'masked' | 'string' {
    return this.#maskOf(level) === null ? 'string' : 'masked'
  }

  /** What stands for a string that is the next value at a level, or null. */
  #maskOf(level: Level | undefined): string | null {
    if (level === undefined) return null
    if (level.mask !== null || !level.object) return level.mask
    const { members } = this.#plan
    return Object.hasOwn(members, level.key) ? (members[level.key] ?? null) : null
  }
}

function unescape(raw: string): string {
  try {
    return String(JSON.parse(`"${raw}"`))
  } catch (cause) {
    throw unreadable('a string in it is broken', { cause })
  }
}

function unreadable(what: string, options?: ErrorOptions): Refused {
  return new Refused(
    'upstream_failed',
    `an answer about Secrets cannot be masked: ${what}`,
    'ask the people who run the gateway to look at the cluster',
    options,
  )
}
