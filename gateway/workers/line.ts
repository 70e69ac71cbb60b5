import { GatewayError } from '../core/errors.ts'
import { type PackedError, packError, unpackError } from './packed-error.ts'

/** One end of the channel between two processes: a ChildProcess, or the child's own `process`. */
export interface Wire {
  send(message: object, handle: undefined, options: object, sent: (error: Error | null) => void): unknown
  on(event: 'message', take: (message: unknown, handle: unknown) => void): unknown
}

/** What an end can be asked, by name: each takes one value (and perhaps a socket), and what it gives is the answer. */
export type Calls<T> = { readonly [Name in keyof T]: (value: never, handle?: unknown) => unknown }

/**
 * What goes over the wire. `ask` 0 wants no answer.
 *
 *     { ask: 7, name: 'begin', value: … }      { answer: 7, value: … }      { answer: 7, error: … }
 */
type Sent =
  | { readonly ask: number; readonly name: string; readonly value: unknown }
  | { readonly answer: number; readonly value?: unknown; readonly error?: PackedError }

/** How long an answer may take, in milliseconds, where nothing else is said. */
const ANSWER_MS = 30_000
/** Questions without an answer, and messages that the other end has not taken: beyond, it is thought to hang. */
const MOST_OPEN = 20_000

/** Asks the other end of a channel, and answers it: every wait and every queue has a bound. */
export class Line<Theirs extends Calls<Theirs>> {
  readonly #wire: Wire
  readonly #hung: () => void
  readonly #asked = new Map<number, { settle(sent: Extract<Sent, { answer: number }>): void }>()
  #count = 0
  #unsent = 0
  #broken: GatewayError | null = null

  /** `answers` is what this end can be asked. `hung` is called when the other end takes nothing any more. */
  constructor(wire: Wire, answers: object, hung: () => void) {
    this.#wire = wire
    this.#hung = hung
    wire.on('message', (message, handle) => {
      if (this.#broken === null && isSent(message)) void this.#take(message, handle, answers)
    })
  }

  /** Rejects with what the other end threw, or `GatewayError` `internal` when it did not answer in time or is gone. */
  async ask<Name extends keyof Theirs & string>(
    name: Name,
    value: Parameters<Theirs[Name]>[0],
    withinMs = ANSWER_MS,
  ): Promise<Awaited<ReturnType<Theirs[Name]>>> {
    if (this.#broken !== null) throw this.#broken
    if (this.#asked.size >= MOST_OPEN) throw new GatewayError('overloaded', `too much is asked: ${name}`)
    const ask = ++this.#count
    const answered = new Promise<unknown>((resolve, reject) => {
      const over = (): void => {
        clearTimeout(timer)
        this.#asked.delete(ask)
      }
      const timer = setTimeout(() => {
        over()
        reject(new GatewayError('internal', `${name} was not answered within ${withinMs} ms`))
      }, withinMs)
      this.#asked.set(ask, {
        settle: (sent) => {
          over()
          if (sent.error === undefined) resolve(sent.value)
          else reject(unpackError(sent.error))
        },
      })
    })
    this.#send({ ask, name, value })
    // The other end is of the same build, and its answers are typed by the same interface.
    return (await answered) as Awaited<ReturnType<Theirs[Name]>>
  }

  /** Says something that needs no answer; what is said arrives in the order it was, with what is asked. */
  tell<Name extends keyof Theirs & string>(name: Name, value: Parameters<Theirs[Name]>[0]): void {
    if (this.#broken === null) this.#send({ ask: 0, name, value })
  }

  /** The other end is gone: whoever waits learns it, and nothing that still comes is listened to. */
  break(): void {
    this.#broken ??= new GatewayError('internal', 'the process at the other end is gone')
    const packed = packError(this.#broken)
    for (const [answer, asked] of this.#asked) asked.settle({ answer, error: packed })
  }

  #send(sent: Sent): void {
    if (++this.#unsent > MOST_OPEN) return this.#hung()
    // A channel that has closed is heard of by its own event.
    this.#wire.send(sent, undefined, {}, () => {
      this.#unsent--
    })
  }

  async #take(sent: Sent, handle: unknown, answers: object): Promise<void> {
    if ('answer' in sent) return this.#asked.get(sent.answer)?.settle(sent)
    const { ask, name, value } = sent
    try {
      const call: unknown = Reflect.get(answers, name)
      if (typeof call !== 'function') throw new GatewayError('internal', `${name} cannot be asked here`)
      const answer: unknown = await Reflect.apply(call, answers, [value, handle])
      if (ask !== 0) this.#answer({ answer: ask, value: answer })
    } catch (error) {
      if (ask !== 0) this.#answer({ answer: ask, error: packError(error) })
    }
  }

  #answer(sent: Sent): void {
    if (this.#broken === null) this.#send(sent)
  }
}

function isSent(message: unknown): message is Sent {
  return typeof message === 'object' && message !== null && ('ask' in message || 'answer' in message)
}
