import { Refused } from '../../core/errors.ts'
import { addPiece } from './pieces.ts'

/** rsync 3.2 and newer; from 31 on a client's requests are framed. */
const [OLDEST, NEWEST] = [31, 40]
/** CF_VARINT_FLIST_FLAGS: both sides name the checksums (and compressions) that they know. */
const NAMES = 0x80
/** MPLEX_BASE + MSG_DATA. */
const DATA = 7
const MOST = 1_048_576
const LONGEST_RULE = 4096
/** Version and names, before the host has answered. */
const LONGEST_OPENING = 8192
/** Plain patterns: a rule that merges has the host read a file of any name, and say what it makes of it. */
const plainRule = /^(?:!|[-+][!/srp]* [^\0]+)$/

/**
 * Reads how an rsync client begins, as far as its list of filters, and lets nothing of that pass that is not understood:
 *
 *   int32 version | a string for each of `names` | frames: uint24 length, byte 7 | of which: (int32 length, rule)… int32 0
 *
 * The host's half is looked at only for its version and flags. All numbers have their low byte first.
 */
export class RsyncOpening {
  #stage: 'version' | 'host' | 'names' | 'list' | 'over' = 'version'
  /** Bytes that are not understood yet. */
  #held: Buffer = Buffer.alloc(0)
  /** The list as far as it has come. */
  readonly #waiting: Buffer[] = []
  #size = 0
  readonly #list = new FilterList()
  #host: Buffer = Buffer.alloc(0)
  #names: number

  /** `names`: strings that the client sends where the host takes them. */
  constructor(names: number) {
    this.#names = names
  }

  /** What of the client's bytes may pass now. Throws `Refused` when they are not how rsync begins. */
  client(chunk: Buffer): Buffer {
    if (this.#stage === 'over') return chunk
    this.#size += chunk.length
    if (this.#size > MOST) throw violation('a list of filters that is too long')
    if (this.#stage === 'list') return this.#filters(chunk)
    this.#held = Buffer.concat([this.#held, chunk])
    const free: Buffer[] = []
    for (let taken = this.#take(); taken !== null; taken = this.#take()) free.push(taken)
    if (this.#held.length > LONGEST_OPENING) throw violation('more than its version and names')
    return Buffer.concat(free)
  }

  #filters(chunk: Buffer): Buffer {
    addPiece(this.#waiting, chunk)
    if (!this.#list.endsIn(chunk)) return Buffer.alloc(0)
    this.#stage = 'over'
    return Buffer.concat(this.#waiting.splice(0))
  }

  /** Looks at what the host says, before the client gets it. */
  host(chunk: Buffer): void {
    if (this.#host.length >= 6) return
    this.#host = Buffer.concat([this.#host, chunk]).subarray(0, 6)
  }

  /** The next piece that is understood. */
  #take(): Buffer | null {
    switch (this.#stage) {
      case 'version':
        if (this.#held.length < 4) return null
        checkVersion(this.#held)
        this.#stage = 'host'
        return this.#cut(4)
      case 'host': {
        const flags = this.#flags()
        if (flags === null) return null
        if ((flags & NAMES) === 0) this.#names = 0
        this.#stage = 'names'
        return Buffer.alloc(0)
      }
      case 'names': {
        if (this.#names === 0) {
          this.#stage = 'list'
          return Buffer.alloc(0)
        }
        // A length of 128 and more takes two bytes, the high one first.
        const [first, second] = this.#held
        if (first === undefined || second === undefined) return null
        const length = first < 0x80 ? 1 + first : 2 + (((first & 0x7f) << 8) | second)
        if (this.#held.length < length) return null
        this.#names--
        return this.#cut(length)
      }
      case 'list':
        return this.#held.length === 0 ? null : this.#filters(this.#cut(this.#held.length))
      case 'over':
        return null
    }
  }

  /** int32 version | the flags as a number of one byte, or two: 10hhhhhh llllllll; null until they are there. */
  #flags(): number | null {
    const [first, second] = this.#host.subarray(4)
    if (first === undefined || second === undefined) return null
    checkVersion(this.#host)
    if (first < 0x80) return first
    if (first >= 0xc0) throw violation('flags that no known version has')
    return ((first & 0x3f) << 8) | second
  }

  #cut(length: number): Buffer {
    const cut = this.#held.subarray(0, length)
    this.#held = this.#held.subarray(length)
    return cut
  }
}

/** A list of filters as it comes, in any split: looked at once, and no more than one rule of it is kept. */
class FilterList {
  #header: Buffer = Buffer.alloc(0)
  #frameLeft = 0
  #rest: Buffer = Buffer.alloc(0)

  /** True once the list has ended; what comes behind it is not looked at. Throws for anything in it but plain rules. */
  endsIn(chunk: Buffer): boolean {
    for (let at = 0; at < chunk.length; ) {
      if (this.#frameLeft === 0) {
        const missing = chunk.subarray(at, at + 4 - this.#header.length)
        this.#header = Buffer.concat([this.#header, missing])
        at += missing.length
        if (this.#header.length === 4) this.#begin(this.#header.readUInt32LE(0))
        continue
      }
      const part = chunk.subarray(at, at + this.#frameLeft)
      if (this.#rules(part)) return true
      this.#frameLeft -= part.length
      at += part.length
    }
    return false
  }

  #begin(header: number): void {
    if (header >>> 24 !== DATA) throw violation('something else where its filters should be')
    this.#frameLeft = header & 0xffffff
    this.#header = Buffer.alloc(0)
  }

  /** (int32 length, rule)… int32 0 */
  #rules(part: Buffer): boolean {
    const list = Buffer.concat([this.#rest, part])
    let at = 0
    while (at + 4 <= list.length) {
      const length = list.readUInt32LE(at)
      if (length === 0) return true
      if (length > LONGEST_RULE) throw violation('a filter that is too long')
      if (at + 4 + length > list.length) break
      const rule = list.toString('latin1', at + 4, at + 4 + length)
      if (!plainRule.test(rule)) throw violation('a filter that is no plain pattern')
      at += 4 + length
    }
    this.#rest = list.subarray(at)
    return false
  }
}

function checkVersion(bytes: Buffer): void {
  const version = bytes.readUInt32LE(0)
  if (version < OLDEST || version > NEWEST) throw violation(`version ${version} of its protocol`)
}

function violation(what: string): Refused {
  return new Refused(
    'protocol_violation',
    `this is not how rsync begins where rules on paths allow it: ${what}`,
    'use rsync 3.2 or newer with plain --include and --exclude, or ask for a rule for `exec`',
  )
}
