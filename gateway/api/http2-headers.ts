import type { ServerHttp2Session } from 'node:http2'

/** Between two looks: a header has so long, and once more. */
const LOOK_MS = 10_000

/**
 * Calls `cut` when a header begins on a connection of HTTP/2 and does not end: nghttp2 waits for the rest for good, and takes
 * nothing else meanwhile (RFC 9113 §4.3). That one began is seen by the last stream that nghttp2 knows of; it may have been
 * malformed, and is over. So the client is asked: who answers a ping is in the middle of no header, for that would be an error (§6.10).
 */
export class HeaderWatch {
  readonly #session: ServerHttp2Session
  readonly #cut: () => void
  readonly #timer: NodeJS.Timeout
  /** The last stream whose header is known to be over. */
  #over = 0
  /** The stream that was asked about. */
  #asked = 0

  constructor(session: ServerHttp2Session, cut: () => void) {
    this.#session = session
    this.#cut = cut
    this.#timer = setInterval(() => this.#look(), LOOK_MS)
  }

  /** The header of a request came to its end. */
  ended(stream: number): void {
    this.#over = Math.max(this.#over, stream)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const { lastProcStreamID: last = 0 } = this.#session.state
    if (last <= this.#over) return
    if (last === this.#asked) return this.#cut()
    this.#asked = last
    this.#session.ping((error) => {
      if (error === null) this.ended(last)
    })
  }
}
