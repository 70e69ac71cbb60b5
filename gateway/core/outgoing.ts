import type { Duplex } from 'node:stream'

/** Gathers what is put on a stream in one turn of the loop: pieces that lie one after the other in memory become one view, and all leave in one write. */
export class Outgoing {
  readonly #stream: Duplex
  /** The run that grows: `#source[#start..#end)`. */
  #source: ArrayBufferLike | null = null
  #start = 0
  #end = 0
  #corked = false

  constructor(stream: Duplex) {
    this.#stream = stream
  }

  /** Takes bytes that nobody changes any more. False: the stream takes no more for now. */
  add(bytes: Uint8Array): boolean {
    const { buffer, byteOffset, byteLength } = bytes
    if (this.#source === buffer && this.#end === byteOffset) {
      this.#end += byteLength
    } else {
      if (this.#source === null) process.nextTick(this.#leave)
      else this.#writeRun()
      this.#source = buffer
      this.#start = byteOffset
      this.#end = byteOffset + byteLength
    }
    return !this.#stream.writableNeedDrain
  }

  /** More than one run: they wait for each other. */
  #writeRun(): void {
    if (!this.#corked) this.#stream.cork()
    this.#corked = true
    this.#write()
  }

  #write(): void {
    if (this.#source !== null)
      this.#stream.write(Buffer.from(this.#source, this.#start, this.#end - this.#start))
    this.#source = null
  }

  readonly #leave = (): void => {
    this.#write()
    if (this.#corked) this.#stream.uncork()
    this.#corked = false
  }
}
