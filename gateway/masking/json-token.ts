import { Refused } from '../core/errors.ts'

/** The bytes of a text between its quotes, or of a literal, as far as they are needed. */
export class Token {
  readonly #cap: number
  #parts: Uint8Array[] = []
  #size = 0

  constructor(cap: number) {
    this.#cap = cap
  }

  add(bytes: Uint8Array): void {
    this.#size += bytes.length
    if (this.#size > this.#cap) this.#parts = []
    // A copy: chunks are views of buffers that are filled again.
    else if (bytes.length > 0) this.#parts.push(Uint8Array.prototype.slice.call(bytes))
  }

  raw(): string {
    return Buffer.concat(this.#parts).toString('latin1')
  }

  /** The text that is meant, or null when it is too long. Throws `Refused` for escapes and bytes that mean none. */
  text(): string | null {
    if (this.#size > this.#cap) return null
    try {
      const written = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
        Buffer.concat(this.#parts),
      )
      const text: unknown = JSON.parse(`"${written}"`)
      if (typeof text === 'string') return text
    } catch {
      throw unreadable('a text holds escapes or bytes that mean nothing')
    }
    throw unreadable('a text is none')
  }
}

/** The refusal of an answer that is masked and cannot be read. */
export function unreadable(what: string): Refused {
  return new Refused(
    'upstream_failed',
    `fields of this answer are masked, and it cannot be read as JSON: ${what}`,
    'ask for JSON, or ask the people who run the gateway for a connection without these masks',
  )
}
