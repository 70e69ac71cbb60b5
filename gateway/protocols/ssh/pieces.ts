/** Pieces up to this length are joined: a client may send its bytes one by one, and each piece costs a hundred more. */
const SMALL = 2048

/** Adds a piece at the end. */
export function addPiece(pieces: Buffer[], chunk: Buffer): void {
  const last = pieces.at(-1)
  if (last !== undefined && last.length + chunk.length <= SMALL)
    pieces[pieces.length - 1] = Buffer.concat([last, chunk])
  else pieces.push(chunk)
}

/** Bytes that came in pieces and are taken in others. */
export class Pieces {
  /** The first is perhaps partly taken. They are joined once enough is there: what is taken may be many of them long. */
  #pieces: Buffer[] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  push(chunk: Buffer): void {
    addPiece(this.#pieces, chunk)
    this.#size += chunk.length
  }

  /** The next bytes without taking them: as many as asked for, of which there have to be as many, or more. */
  peek(count: number): Buffer {
    let [first = Buffer.alloc(0)] = this.#pieces
    if (first.length < count) {
      first = Buffer.concat(this.#pieces)
      this.#pieces = [first]
    }
    return first
  }

  /** Takes that many bytes, of which there have to be as many. */
  take(count: number): Buffer {
    const first = this.peek(count)
    this.#size -= count
    if (first.length === count) this.#pieces.shift()
    else this.#pieces[0] = first.subarray(count)
    return first.subarray(0, count)
  }
}
