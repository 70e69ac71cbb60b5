import { createHash, hash } from 'node:crypto'

// A chain of blocks of JSON lines. docs/guide/recordings.md has the format byte by byte; in short:
//
//   {"seq":0,"at":1770000000000,"kind":…}              events, one a line
//   {"seal":0,"prev":"HEX","hash":"HEX","records":1}   hash = SHA-256(prev, 32 bytes ‖ every byte since the last seal's line)
//   {"sign":0,"name":…,"head":"HEX","blocks":1,"records":1,"at":…,"kid":…,"sig":…}
//
// A signature's line is covered by the hash of the block that comes after it.

const digestLength = 32

/** Signs and names the key: `sign` is Ed25519 (RFC 8032) over what it is given. */
export interface ChainKeys {
  sign(data: Uint8Array): Uint8Array
  readonly kid: string
}

/** Where a chain stands. */
export interface ChainState {
  /** Hex of the last block's hash, or of the first block's `prev` when there is none. */
  readonly head: string
  readonly blocks: number
  /** Events sealed. */
  readonly records: number
  readonly signatures: number
}

/** The `prev` of a chain's first block, hex: what ties its blocks to its name. */
export function originOf(name: string): string {
  return createHash('sha256').update(`hoop-access recording v1\n${name}\n`).digest('hex')
}

/** The exact bytes of a seal's line. */
export function sealLine(seal: number, prev: string, head: string, records: number): string {
  return `{"seal":${seal},"prev":"${prev}","hash":"${head}","records":${records}}\n`
}

export interface Signature {
  readonly sign: number
  readonly name: string
  readonly head: string
  readonly blocks: number
  readonly records: number
  readonly at: number
  readonly kid: string
}

/** What a signature signs: the same fields as lines of text under a heading. */
export function signedText({ sign, name, head, blocks, records, at, kid }: Signature): Buffer {
  return Buffer.from(
    `hoop-access recording signature v1\n${name}\n${sign}\n${head}\n${blocks}\n${records}\n${at}\n${kid}\n`,
  )
}

/** The exact bytes of a signature's line; `sig` is base64url. */
export function signatureLine(
  { sign, name, head, blocks, records, at, kid }: Signature,
  sig: string,
): string {
  return `${JSON.stringify({ sign, name, head, blocks, records, at, kid, sig })}\n`
}

/** Buffers in which no block is being built, for the chains that build one next. */
const spares: Buffer[] = []
const spareLength = 16_384
const mostSpares = 64
const nothing = Buffer.alloc(0)
/** In UTF-16 units: what is longer goes into the buffer by itself. */
const shortLine = 4096

/** Builds a chain: events are added, blocks sealed, and what `take` gives is written by the caller. */
export class Chain {
  readonly name: string
  readonly #keys: ChainKeys
  // The previous hash (32 bytes), then the lines since the last seal: what the next hash is over, in one piece. Empty
  // between blocks, for of many sessions most have nothing to say.
  #buffer: Buffer = nothing
  /** What the next block begins with behind the hash: the line of a signature, or nothing; a character is a byte, which costs less than bytes do. */
  #tail: string
  #end = digestLength
  /** Lines that are not in the buffer yet: short ones go there together, for each writing of a text costs as much as a hundred bytes of it. */
  #lines = ''
  /** Where what `take` has not given yet begins. */
  #taken = digestLength
  #head: string
  #blocks: number
  #sealed: number
  #pending = 0
  #signatures: number
  #signedBlocks: number
  /** Length of the signature's line at the end of what waits to be taken. */
  #signature = 0

  /** A new chain, or one that goes on from `state`; `tail` is then what the file holds after its last seal (a signature's line). */
  constructor(name: string, keys: ChainKeys, from?: { state: ChainState; tail: Uint8Array }) {
    this.name = name
    this.#keys = keys
    this.#head = from?.state.head ?? originOf(name)
    this.#blocks = from?.state.blocks ?? 0
    this.#sealed = from?.state.records ?? 0
    this.#signatures = from?.state.signatures ?? 0
    this.#signedBlocks = this.#blocks
    this.#tail = from === undefined ? '' : Buffer.from(from.tail).toString('latin1')
    this.#end += this.#tail.length
    this.#taken = this.#end
  }

  get state(): ChainState {
    return { head: this.#head, blocks: this.#blocks, records: this.#sealed, signatures: this.#signatures }
  }

  /** Blocks sealed since the last signature. */
  get unsigned(): number {
    return this.#blocks - this.#signedBlocks
  }

  /** Length of the signature's line that ends what `take` gives; 0 when it ends with a seal. */
  get signatureLength(): number {
    return this.#signature
  }

  /** What waits for a seal: bytes, less what short lines hold beyond ASCII. */
  get size(): number {
    return this.#pending === 0 ? 0 : this.#end - this.#taken + this.#lines.length
  }

  /** Adds an event, given as the text of a JSON object with one member or more; gives its `seq`. */
  add(json: string, at: number): number {
    const seq = this.#sealed + this.#pending
    this.#line(`{"seq":${seq},"at":${at},${json.slice(1)}\n`)
    this.#pending++
    return seq
  }

  /** Adds an event whose last member is `data`, the first `length` of these bytes; `json` is the text of the others. The same as `add`, without building JSON from what is base64 anyway. */
  addData(json: string, data: Buffer, length: number, at: number): number {
    const seq = this.#sealed + this.#pending
    const text = data.toString('base64', 0, length)
    this.#line(`{"seq":${seq},"at":${at},${json},"data":"`)
    if (text.length < shortLine) {
      this.#lines += `${text}"}\n`
      this.#pending++
      return seq
    }
    this.#place()
    this.#reserve(text.length + 3)
    this.#end += this.#buffer.write(text, this.#end, 'latin1')
    this.#end += this.#buffer.write('"}\n', this.#end, 'latin1')
    this.#pending++
    return seq
  }

  /** Seals what was added into a block; nothing when nothing was. */
  seal(): void {
    if (this.#pending === 0) return
    this.#place()
    const prev = this.#head
    const head = hash('sha256', this.#buffer.subarray(0, this.#end), 'hex')
    this.#write(sealLine(this.#blocks, prev, head, this.#pending))
    this.#head = head
    this.#blocks++
    this.#sealed += this.#pending
    this.#pending = 0
  }

  /** Seals, and signs the head. The line is part of the next block's hash. */
  sign(at: number): void {
    this.seal()
    const { head, blocks, records, signatures } = this.state
    const { kid } = this.#keys
    const fields = { sign: signatures, name: this.name, head, blocks, records, at, kid }
    const line = signatureLine(fields, Buffer.from(this.#keys.sign(signedText(fields))).toString('base64url'))
    this.#write(line)
    this.#signatures++
    this.#signedBlocks = blocks
    this.#signature = Buffer.byteLength(line)
  }

  /** The bytes to append to the file, good until the next call of any method; call it after `seal` or `sign`. */
  take(): Uint8Array {
    return this.#buffer.subarray(this.#taken, this.#end)
  }

  /** What `take` gave is written: the next block begins with the signature's line, if it was one. */
  taken(): void {
    const used = this.#buffer
    this.#tail = this.#signature === 0 ? '' : used.toString('latin1', this.#end - this.#signature, this.#end)
    this.#buffer = nothing
    this.#end = digestLength + this.#tail.length
    this.#taken = this.#end
    this.#signature = 0
    if (used.length === spareLength && spares.length < mostSpares) spares.push(used)
  }

  #line(text: string): void {
    this.#lines += text
    if (this.#lines.length >= shortLine) this.#place()
  }

  #place(): void {
    if (this.#lines === '') return
    this.#write(this.#lines)
    this.#lines = ''
  }

  #write(text: string): void {
    // A UTF-16 unit is at most three bytes of UTF-8.
    this.#reserve(text.length * 3)
    this.#end += this.#buffer.write(text, this.#end, 'utf8')
  }

  #reserve(length: number): void {
    const needed = this.#end + length
    if (needed <= this.#buffer.length) return
    const larger =
      needed <= spareLength
        ? (spares.pop() ?? Buffer.allocUnsafeSlow(spareLength))
        : Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, needed))
    if (this.#buffer.length > 0) this.#buffer.copy(larger, 0, 0, this.#end)
    else {
      larger.write(this.#head, 'hex')
      larger.write(this.#tail, digestLength, 'latin1')
    }
    this.#buffer = larger
  }
}
