import { type Hash, createHash } from 'node:crypto'
import { Refused } from '../../core/errors.ts'
import type { Lane } from '../../core/protocol.ts'
import { Pieces } from './pieces.ts'
import { type Between, type Exit, carry, straight } from './pump.ts'

/** A 20 or 32 byte name of an object, in hexadecimal. */
const oid = '(?:[0-9a-f]{40}|[0-9a-f]{64})'
const update = new RegExp(`^(${oid}) (${oid}) ([^\\0\\n]+)`)
const want = new RegExp(`^(?:want (${oid})|want-ref ([^\\0\\n]+))`)
const outcome = /^(?:(ok) ([^\0\n ]+)|ng ([^\0\n ]+) ([^\0\n]*))/
/** What begins a pack stands where a line's length would, and is none. */
const packBegins = 'PACK'
/** Bands of git's side-band: what is asked for, and not what is said about it. */
const DATA = 1

/**
 * Watches git's own protocol (gitprotocol-pack, gitprotocol-v2) as it passes and notes what it is about: which refs a
 * push moves from where to where and what became of it, what a fetch asks for, and the pack that goes either way.
 *
 *   hex4 length (with itself), payload | "0000" flush, "0001", "0002" | "PACK"… to the end
 *   payload, from the host: text, or a byte for the band and what it carries
 */
export class GitWatch {
  readonly #pushes: boolean
  readonly #note: Lane['note']
  readonly #client = new Lines()
  readonly #host = new Lines()
  /** Lines within the host's side-band: how a push went. */
  readonly #report = new Lines()
  readonly #sent = new Pack()
  readonly #received = new Pack()
  /** The host speaks otherwise: what it says has its hash as a stream. */
  #lost = false

  constructor(pushes: boolean, note: Lane['note']) {
    this.#pushes = pushes
    this.#note = note
  }

  /** Between the ends of a channel. */
  between(through: Between): Between {
    return {
      ...through,
      forward: (chunk) => {
        this.client(chunk)
        return through.forward(chunk)
      },
      reply: (chunk) => {
        this.host(chunk)
        return through.reply(chunk)
      },
    }
  }

  /** Called before the bytes are forwarded. Throws `Refused` for what git would not understand either. */
  client(chunk: Buffer): void {
    const updates: { ref: string; old: string; new: string }[] = []
    const objects: string[] = []
    this.#client.push(chunk)
    for (let line = this.#client.next(); line !== null; line = this.#client.next()) {
      if (line.kind === 'unknown')
        throw new Refused('protocol_violation', 'this is not how git speaks', 'use git itself')
      if (line.kind === 'pack') this.#sent.add(line.bytes)
      if (line.kind !== 'line') continue
      const text = line.bytes.toString('utf8')
      const [, old, to, ref] = update.exec(text) ?? []
      if (this.#pushes && old !== undefined && to !== undefined && ref !== undefined)
        updates.push({ ref, old, new: to })
      const [, object, named] = want.exec(text) ?? []
      if (!this.#pushes && (object ?? named) !== undefined) objects.push(object ?? named ?? '')
    }
    if (updates.length > 0) this.#note({ what: 'refs', updates })
    if (objects.length > 0) this.#note({ what: 'wants', objects })
  }

  host(chunk: Buffer): void {
    if (this.#lost) return
    this.#host.push(chunk)
    for (let line = this.#host.next(); line !== null && !this.#lost; line = this.#host.next()) {
      if (line.kind === 'unknown') this.#lost = true
      else if (line.kind === 'flush') this.#packReceived()
      else if (line.kind === 'pack') this.#received.add(line.bytes)
      else if (line.bytes[0] !== DATA) this.#outcomes([line.bytes])
      else if (this.#pushes) this.#reported(line.bytes.subarray(1))
      else this.#received.add(line.bytes.subarray(1))
    }
  }

  end(): void {
    const sent = this.#sent.total()
    if (sent !== null) this.#note({ what: 'pack', way: 'sent', ...sent })
    this.#packReceived()
  }

  #packReceived(): void {
    const received = this.#received.total()
    if (received !== null) this.#note({ what: 'pack', way: 'received', ...received })
  }

  #reported(bytes: Buffer): void {
    this.#report.push(bytes)
    const lines: Buffer[] = []
    for (let line = this.#report.next(); line !== null; line = this.#report.next()) {
      if (line.kind === 'unknown') this.#lost = true
      if (line.kind === 'unknown') break
      if (line.kind === 'line') lines.push(line.bytes)
    }
    this.#outcomes(lines)
  }

  /** gitprotocol-pack, "Report Status": `ok REF`, `ng REF WHY`. */
  #outcomes(lines: readonly Buffer[]): void {
    if (!this.#pushes) return
    const refs = lines.flatMap((line) => {
      const [, ok, done, failed, why] = outcome.exec(line.toString('utf8')) ?? []
      const ref = done ?? failed
      return ref === undefined ? [] : [{ ref, outcome: ok ?? why ?? '' }]
    })
    if (refs.length > 0) this.#note({ what: 'pushed', refs })
  }
}

/** Carries git's server side as it is, and watches it. */
export async function carryGit(
  parts: Parameters<typeof straight>[0] & Parameters<typeof carry>[0],
  command: string,
): Promise<Exit> {
  const watch = new GitWatch(command.startsWith('git-receive-pack '), (event) => parts.lane.note(event))
  try {
    return await carry(parts, watch.between(straight(parts)))
  } finally {
    watch.end()
  }
}

type Line =
  | { readonly kind: 'line' | 'pack'; readonly bytes: Buffer }
  | { readonly kind: 'flush' }
  | { readonly kind: 'unknown' }

/** Cuts a stream into git's lines. */
class Lines {
  readonly #pieces = new Pieces()
  #isPack = false

  push(chunk: Buffer): void {
    this.#pieces.push(chunk)
  }

  next(): Line | null {
    const pieces = this.#pieces
    if (this.#isPack)
      return pieces.size === 0 ? null : { kind: 'pack', bytes: pieces.take(pieces.peek(1).length) }
    if (pieces.size < 4) return null
    const head = pieces.peek(4).toString('latin1', 0, 4)
    this.#isPack = head === packBegins
    if (this.#isPack) return this.next()
    if (!/^[0-9a-f]{4}$/i.test(head)) return { kind: 'unknown' }
    const length = Number.parseInt(head, 16)
    if (length === 3) return { kind: 'unknown' }
    if (length < 4) {
      pieces.take(4)
      return { kind: 'flush' }
    }
    return pieces.size < length ? null : { kind: 'line', bytes: pieces.take(length).subarray(4) }
  }
}

/** What passes of a pack. */
class Pack {
  #bytes = 0
  #hash: Hash | null = null

  add(bytes: Buffer): void {
    this.#bytes += bytes.length
    this.#hash ??= createHash('sha256')
    this.#hash.update(bytes)
  }

  /** What has passed since it was last asked; null when that is nothing. */
  total(): { bytes: number; sha256: string } | null {
    if (this.#hash === null || this.#bytes === 0) return null
    const total = { bytes: this.#bytes, sha256: this.#hash.digest('hex') }
    this.#bytes = 0
    this.#hash = null
    return total
  }
}
