import { createHash, type KeyObject, verify } from 'node:crypto'
import { open } from 'node:fs/promises'
import { type ChainState, originOf, sealLine, type Signature, signatureLine, signedText } from './chain.ts'
import type { Position } from './mark.ts'

/** The first bad record of a file. Lines count from 1, bytes from 0; `seq` is null where no record is concerned. */
export interface Fault {
  readonly file: string
  readonly line: number
  readonly offset: number
  readonly seq: number | null
  readonly why: string
}

export interface ReadEvent {
  readonly seq: number
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly line: number
  readonly offset: number
  /** As it was written; what it holds is for the reader to check. */
  readonly event: Readonly<Record<string, unknown>>
}

/** A piece of a chain that has been checked; `end` is the offset behind its last byte. */
export type ChainPart =
  | {
      readonly kind: 'block'
      readonly events: readonly ReadEvent[]
      readonly state: ChainState
      readonly end: number
    }
  | {
      readonly kind: 'signature'
      readonly signature: Signature
      readonly state: ChainState
      readonly end: number
      readonly bytes: Uint8Array
    }
  /** Nothing comes after it. `torn`: the file only stops too early, as a crash leaves it. */
  | { readonly kind: 'fault'; readonly fault: Fault; readonly torn: boolean }

/** The key that a signature names, or null when it is not known. */
export type KeyFinder = (kid: string) => KeyObject | null

const longestLine = 1 << 25

interface Line {
  /** Without the newline; `whole` says whether there was one. */
  readonly bytes: Buffer
  readonly whole: boolean
  readonly number: number
  readonly offset: number
}

/**
 * Reads a chain and checks every byte of it: events come out only when the seal of their block holds.
 * `name` is the session's (or the ledger's); null takes it from the first event. Memory is bounded by one block.
 * With `from`, what comes before that position is taken for granted.
 */
export async function* readChain(
  path: string,
  name: string | null,
  keys: KeyFinder,
  from?: Position,
): AsyncGenerator<ChainPart> {
  const reader = new ChainReader(path, name, keys, from)
  for await (const line of readLines(path, from)) {
    const part = reader.read(line)
    if (part !== null) yield part
    if (part?.kind === 'fault') return
  }
  const last = reader.finish()
  if (last !== null) yield last
}

/** The checks, line by line. */
class ChainReader {
  readonly #path: string
  readonly #keys: KeyFinder
  #name: string | null
  #state: ChainState | null = null
  #hash = createHash('sha256')
  #events: ReadEvent[] = []
  #size = 0
  /** True when the line before was a signature's: a second one says nothing new and is not ours. */
  #signed = false

  constructor(path: string, name: string | null, keys: KeyFinder, from?: Position) {
    this.#path = path
    this.#name = name
    this.#keys = keys
    if (from !== undefined) this.#beginAt(from)
    else if (name !== null) this.#begin(name)
  }

  read(line: Line): ChainPart | null {
    if (!line.whole) {
      const why =
        line.bytes.length >= longestLine
          ? 'a line is too long'
          : 'the file is cut off in the middle of a line'
      return this.#fault(line, why, line.bytes.length < longestLine)
    }
    const value = parse(line.bytes)
    if (value === null) return this.#fault(line, 'this line is not a JSON object')
    if (this.#state === null) {
      if (typeof value.session !== 'string')
        return this.#fault(line, 'the first record does not name its session')
      this.#begin(value.session)
    }
    if ('seal' in value) return this.#seal(line)
    if ('sign' in value) return this.#signature(line, value)
    return this.#event(line, value)
  }

  finish(): ChainPart | null {
    const first = this.#events[0]
    if (first === undefined) return null
    return this.#fault(first, 'the records from here on have no seal: the file is cut off', true)
  }

  #begin(name: string): void {
    this.#name = name
    this.#beginAt({ head: originOf(name), blocks: 0, records: 0, signatures: 0 })
  }

  #beginAt({ head, blocks, records, signatures }: ChainState): void {
    this.#state = { head, blocks, records, signatures }
    this.#hash.update(Buffer.from(head, 'hex'))
  }

  get #at(): ChainState {
    return this.#state ?? { head: '', blocks: 0, records: 0, signatures: 0 }
  }

  #event(line: Line, event: Record<string, unknown>): ChainPart | null {
    const seq = this.#at.records + this.#events.length
    const { at } = event
    if (event.seq !== seq) return this.#fault(line, `record ${seq} should stand here`)
    if (typeof at !== 'number' || typeof event.kind !== 'string')
      return this.#fault(line, 'this is not a record')
    this.#size += line.bytes.length
    if (this.#size > longestLine) return this.#fault(line, 'a block is too large')
    this.#cover(line)
    this.#signed = false
    this.#events.push({ seq, at, event, line: line.number, offset: line.offset })
    return null
  }

  #seal(line: Line): ChainPart {
    const { head: prev, blocks, records, signatures } = this.#at
    const events = this.#events
    const first = events[0]
    if (first === undefined) return this.#fault(line, 'a seal without records')
    const head = this.#hash.digest('hex')
    if (line.bytes.toString('latin1') !== sealLine(blocks, prev, head, events.length).trimEnd()) {
      const last = first.seq + events.length - 1
      const which = last === first.seq ? `record ${first.seq}` : `records ${first.seq} to ${last}`
      return this.#fault(
        first,
        `${which}, or the seal on line ${line.number}, is not what was sealed as block ${blocks}: changed, moved or of another recording`,
      )
    }
    this.#state = { head, blocks: blocks + 1, records: records + events.length, signatures }
    this.#hash = createHash('sha256').update(Buffer.from(head, 'hex'))
    this.#events = []
    this.#size = 0
    return { kind: 'block', events, state: this.#state, end: line.offset + line.bytes.length + 1 }
  }

  #signature(line: Line, value: Record<string, unknown>): ChainPart {
    const { head, blocks, records, signatures } = this.#at
    if (this.#events.length > 0) return this.#fault(line, 'a signature in the middle of a block')
    if (this.#signed || blocks === 0) return this.#fault(line, 'a signature that signs nothing new')
    const { at, kid, sig } = value
    if (typeof at !== 'number' || typeof kid !== 'string' || typeof sig !== 'string') {
      return this.#fault(line, 'this is not a signature')
    }
    const signature = { sign: signatures, name: this.#name ?? '', head, blocks, records, at, kid }
    const bytes = Buffer.from(sig, 'base64url')
    // Compared as bytes, so that there is one way only to write each line.
    if (line.bytes.toString() !== signatureLine(signature, bytes.toString('base64url')).trimEnd()) {
      return this.#fault(line, `this signature is not of what stands before it (block ${blocks - 1})`)
    }
    const key = this.#keys(kid)
    if (key === null) return this.#fault(line, `signed by a key that is not known: ${kid.slice(0, 64)}`)
    if (!verify(null, signedText(signature), key, bytes))
      return this.#fault(line, 'this signature is forged or damaged')
    this.#cover(line)
    this.#signed = true
    this.#state = { head, blocks, records, signatures: signatures + 1 }
    const end = line.offset + line.bytes.length + 1
    return {
      kind: 'signature',
      signature,
      state: this.#state,
      end,
      bytes: Buffer.concat([line.bytes, newline]),
    }
  }

  #cover(line: Line): void {
    this.#hash.update(line.bytes).update(newline)
  }

  #fault(at: Line | ReadEvent, why: string, torn = false): ChainPart {
    const line = 'number' in at ? at.number : at.line
    const seq = 'seq' in at ? at.seq : this.#at.records + this.#events.length
    return { kind: 'fault', torn, fault: { file: this.#path, line, offset: at.offset, seq, why } }
  }
}

const newline = Buffer.from('\n')

function parse(bytes: Buffer): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null
  } catch {
    // What is wrong with it does not matter: the line is not what a recorder writes.
    return null
  }
}

async function* readLines(path: string, from: Position | undefined): AsyncGenerator<Line> {
  const file = await open(path, 'r')
  try {
    const chunk = Buffer.allocUnsafe(1 << 16)
    let rest: Buffer[] = []
    let held = 0
    // Every record, seal and signature is a line.
    let number = from === undefined ? 1 : from.records + from.blocks + from.signatures + 1
    let offset = from?.bytes ?? 0
    let at = offset
    for (;;) {
      const { bytesRead } = await file.read(chunk, 0, chunk.length, at)
      if (bytesRead === 0) break
      at += bytesRead
      let start = 0
      for (let to = chunk.indexOf(10); to >= 0 && to < bytesRead; to = chunk.indexOf(10, start)) {
        const bytes = Buffer.concat([...rest, chunk.subarray(start, to)])
        yield { bytes, whole: true, number, offset }
        offset += bytes.length + 1
        number++
        rest = []
        held = 0
        start = to + 1
      }
      rest.push(Buffer.from(chunk.subarray(start, bytesRead)))
      held += bytesRead - start
      if (held >= longestLine) break
    }
    if (held > 0) yield { bytes: Buffer.concat(rest), whole: false, number, offset }
  } finally {
    await file.close()
  }
}
