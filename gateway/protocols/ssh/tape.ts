import { Refused } from '../../core/errors.ts'
import { addPiece } from './pieces.ts'

/** What may wait of a side that sends faster than it is read. */
const ROOM = 1_048_576

/** Bytes of one side that wait for one reader, who takes them as bytes, lines, or as they came. */
export class Tape {
  #pieces: Buffer[] = []
  #size = 0
  #ended = false
  #waiting: (() => void)[] = []

  /** False: it is full, until `ready`. */
  push(chunk: Buffer): boolean {
    addPiece(this.#pieces, chunk)
    this.#size += chunk.length
    this.#wake()
    return this.#size < ROOM
  }

  /** No more will come. */
  end(): void {
    this.#ended = true
    this.#wake()
  }

  ready(): Promise<void> {
    return this.#until(() => this.#ended || this.#size < ROOM)
  }

  /** The next bytes as they came, at most `most`; null at the end. */
  async some(most: number): Promise<Buffer | null> {
    await this.#until(() => this.#ended || this.#size > 0)
    const [first] = this.#pieces
    if (first === undefined) return null
    const taken = first.subarray(0, most)
    if (taken.length === first.length) this.#pieces.shift()
    else this.#pieces[0] = first.subarray(most)
    this.#size -= taken.length
    if (this.#size < ROOM) this.#wake()
    return taken
  }

  /** Up to and with the next newline; null at the end. Rejects with `Refused` for lines longer than `most`, and for half ones. */
  async line(most: number): Promise<Buffer | null> {
    const parts: Buffer[] = []
    for (let left = most; ; ) {
      const piece = await this.some(left)
      if (piece === null && parts.length === 0) return null
      if (piece === null) throw violation('a line that does not end')
      const end = piece.indexOf(0x0a)
      if (end !== -1) {
        this.#putBack(piece.subarray(end + 1))
        return Buffer.concat([...parts, piece.subarray(0, end + 1)])
      }
      parts.push(piece)
      left -= piece.length
      if (left === 0) throw violation('a line that is too long')
    }
  }

  #putBack(rest: Buffer): void {
    if (rest.length === 0) return
    this.#pieces.unshift(rest)
    this.#size += rest.length
  }

  #until(done: () => boolean): Promise<void> {
    if (done()) return Promise.resolve()
    return new Promise((resolve) => {
      const look = (): void => (done() ? resolve() : void this.#waiting.push(look))
      this.#waiting.push(look)
    })
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const look of waiting) look()
  }
}

function violation(what: string): Refused {
  return new Refused('protocol_violation', `this is not how scp speaks: ${what}`, 'use OpenSSH’s scp')
}
