/** What is to happen with an answer. */
export interface Pending {
  /** The id that the client gave its request; null for one of the gateway's own. */
  readonly id: number | null
  readonly seen?: (answer: Buffer) => void
}

/** Requests that wait for the host's answer. Their ids are the gateway's own, so that its questions and the client's are told apart. */
export class PendingRequests {
  readonly #pending = new Map<number, Pending>()
  #last = 0

  get size(): number {
    return this.#pending.size
  }

  /** Writes an id into a request, and gives the request. */
  add(request: Buffer, pending: Pending): Buffer {
    do this.#last = (this.#last + 1) >>> 0
    while (this.#pending.has(this.#last))
    this.#pending.set(this.#last, pending)
    request.writeUInt32BE(this.#last, 5)
    return request
  }

  /** Deals with an answer, and writes the client's own id into it: null when it is none for the client. */
  settle(answer: Buffer): number | null {
    const number = answer.readUInt32BE(5)
    const pending = this.#pending.get(number)
    // An answer to nothing that was asked has no client to go to.
    if (pending === undefined) return null
    this.#pending.delete(number)
    pending.seen?.(answer)
    if (pending.id !== null) answer.writeUInt32BE(pending.id, 5)
    return pending.id
  }
}
