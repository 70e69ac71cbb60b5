const prompt = /(pass(word|phrase|code)|\bpin|otp|token|secret|verification code)[^\r\n]{0,80}:\s*$/i
const TAIL = 128

/** Knows when what is typed is not shown (after a prompt for a password), so that the record does not hold it either. */
export class Unseen {
  #tail = ''
  #hiding = false

  /** What the host says. */
  output(chunk: Uint8Array): void {
    const text = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1')
    this.#tail = (this.#tail + text.slice(-TAIL)).slice(-TAIL)
    if (text.length > 0) this.#hiding = prompt.test(this.#tail)
  }

  /** What is kept of input: after a prompt, stars up to the end of the line. */
  input(chunk: Uint8Array): Uint8Array {
    if (!this.#hiding) return chunk
    const kept = Uint8Array.prototype.slice.call(chunk)
    for (let at = 0; at < kept.length && this.#hiding; at++) {
      if (kept[at] === 0x0d || kept[at] === 0x0a) this.#hiding = false
      else kept[at] = 0x2a
    }
    return kept
  }
}
