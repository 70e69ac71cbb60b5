import { verify } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { GatewayError } from '../core/errors.ts'
import { type ChainKeys, type ChainState, originOf } from './chain.ts'
import type { KeyFinder } from './read-chain.ts'

// The ledger cannot show by itself that its end was cut off. So the gateway keeps, apart from the recordings, how far
// it had written: a mark, which the ledger must still hold at the next start and at every verification.

/** A place in a chain right behind a seal: how the chain stands there, and the offset in its file. */
export interface Position extends ChainState {
  readonly bytes: number
}

export interface Mark {
  /** The ledger's chain: `ledger`, `ledger-002`, … */
  readonly ledger: string
  /** What the ledger holds at least. */
  readonly at: Position
  /** Where a start begins to read: what comes after it says which sessions are open. */
  readonly from: Position
}

/** Keeps one text, whole or not at all. */
export interface MarkPlace {
  /** For messages: `data/ledger.head`. */
  readonly name: string
  read(): Promise<string | null>
  /** On disk when it resolves. */
  write(text: string): Promise<void>
}

/** Before the first block of a ledger. */
export function emptyMark(ledger: string): Mark {
  const at = { head: originOf(ledger), blocks: 0, records: 0, signatures: 0, bytes: 0 }
  return { ledger, at, from: at }
}

/** A mark in a file: written beside it, 0600, and put in its place. */
export function markFile(path: string): MarkPlace {
  return {
    name: path,
    async read() {
      try {
        return await readFile(path, 'utf8')
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
        throw new GatewayError('recording_failed', `cannot read ${path}`, { cause: error })
      }
    },
    async write(text) {
      const draft = `${path}.new`
      try {
        const file = await open(draft, 'w', 0o600)
        try {
          await file.writeFile(text)
          await file.datasync()
        } finally {
          await file.close()
        }
        await rename(draft, path)
      } catch (error) {
        // On a full disk half a draft would take room for nothing.
        await rm(draft, { force: true }).catch(() => undefined) // the first fault is the one to tell
        throw new GatewayError('recording_failed', `cannot write ${path}`, { cause: error })
      }
    },
  }
}

/** The gateway's marks, in every place at once. */
export class Marks {
  readonly #keys: ChainKeys
  readonly #places: readonly MarkPlace[]
  #latest: Mark | null = null
  #running: Promise<unknown> = Promise.resolve()
  #next: Promise<void> | null = null

  constructor(keys: ChainKeys, places: readonly MarkPlace[]) {
    this.#keys = keys
    this.#places = places
  }

  /** Keeps a mark; of those that come while one is being written only the furthest is. What it marks must be on disk. */
  keep(mark: Mark): Promise<void> {
    if (this.#latest === null || isFurther(mark, this.#latest)) this.#latest = mark
    this.#next ??= this.#running.then(() => {
      this.#next = null
      const done = this.#write(this.#latest ?? mark)
      this.#running = Promise.allSettled([done])
      return done
    })
    return this.#next
  }

  async #write(mark: Mark): Promise<void> {
    const text = JSON.stringify(mark)
    const sig = Buffer.from(this.#keys.sign(signedMark(text))).toString('base64url')
    for (const place of this.#places) await place.write(`${text}\n${this.#keys.kid} ${sig}\n`)
  }
}

/**
 * The furthest of the marks in these places, because a gateway may die between writing one and the next; null when
 * there is none. Throws `GatewayError` `recording_failed` for one that the gateway did not sign.
 */
export async function readMark(
  places: readonly Pick<MarkPlace, 'name' | 'read'>[],
  keys: KeyFinder,
): Promise<Mark | null> {
  let furthest: Mark | null = null
  for (const place of places) {
    const text = await place.read()
    if (text === null) continue
    const mark = parseMark(text, keys)
    if (mark === null) {
      throw new GatewayError(
        'recording_failed',
        `${place.name} is not what the gateway wrote: restore it, or move it away`,
      )
    }
    if (furthest === null || isFurther(mark, furthest)) furthest = mark
  }
  return furthest
}

function isFurther(one: Mark, other: Mark): boolean {
  // `ledger` is before `ledger-002`, and `ledger-999` before `ledger-1000`.
  if (one.ledger.length !== other.ledger.length) return one.ledger.length > other.ledger.length
  if (one.ledger !== other.ledger) return one.ledger > other.ledger
  return one.at.blocks > other.at.blocks
}

function parseMark(text: string, keys: KeyFinder): Mark | null {
  const [json = '', signature = ''] = text.split('\n')
  const [kid = '', sig = ''] = signature.split(' ')
  const key = keys(kid)
  if (key === null || !verify(null, signedMark(json), key, Buffer.from(sig, 'base64url'))) return null
  // The gateway signed it, so it is a mark.
  return JSON.parse(json) as Mark
}

function signedMark(json: string): Buffer {
  return Buffer.from(`hoop-access ledger mark v1\n${json}\n`)
}
