import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Analysis } from '../../sql/analyzer.ts'
import { Front } from './codec.ts'
import { readQuery } from './messages.ts'
import { Extended } from './extended.ts'
import { readFunctionCall } from './function-call.ts'
import { expect } from './ledger.ts'
import { type Done, type Frame, Outlet, type RequestParts, after } from './outlet.ts'
import { type TextReading, noStatement } from './readings.ts'
import { endsSession, readText, refuseUnmaskable, undecidedWords, violation } from './refusals.ts'
import { cancelledMessage, refusalMessage } from './words.ts'

/** Reads, decides and forwards one request after the other. Throws, or rejects, when the session has to end. */
export class Requests {
  readonly #parts: RequestParts
  readonly #outlet: Outlet
  readonly #extended: Extended

  constructor(parts: RequestParts) {
    this.#parts = parts
    this.#outlet = new Outlet(parts)
    this.#extended = new Extended(parts, this.#outlet)
  }

  /** A whole message. */
  take(frame: Frame): Done {
    const { ledger } = this.#parts
    const { type, bytes } = frame
    if (ledger.copyIn) return this.#outlet.copyIn.take(frame)
    // After an error the server skips up to Sync whatever comes; nobody has to be asked about it.
    if (ledger.skipping && type !== Front.sync) return undefined
    switch (type) {
      case Front.sync:
        this.#outlet.open = false
        this.#parts.names.stretch++
        this.#outlet.send(expect('sync'), this.#outlet.standing, bytes)
        return undefined
      case Front.flush:
        this.#outlet.forward(this.#outlet.standing, bytes)
        return undefined
      case Front.copyData:
      case Front.copyDone:
      case Front.copyFail:
        // Too late or too early: the server ignores them, too (§54.2.6).
        return undefined
      default:
    }
    const kind = type === Front.query || type === Front.functionCall ? 'query' : 'extended'
    try {
      return this.#read(type, bytes)?.catch((error: unknown) => this.#answer(kind, error))
    } catch (error) {
      return this.#answer(kind, error)
    }
  }

  /** Reads a message that asks for something. */
  #read(type: number, bytes: Buffer): Done {
    switch (type) {
      case Front.query:
        return this.#simpleQuery(bytes)
      case Front.parse:
        return this.#extended.parse(bytes)
      case Front.bind:
        return this.#extended.bind(bytes)
      case Front.describe:
        return this.#extended.describe(bytes)
      case Front.execute:
        return this.#extended.execute(bytes)
      case Front.close:
        return this.#extended.close(bytes)
      case Front.functionCall:
        return this.#functionCall(bytes)
      default:
        throw violation(`a message of type ${JSON.stringify(String.fromCharCode(type))} is not expected here`)
    }
  }

  /** A piece of CopyData. */
  stream(bytes: Buffer, first: boolean, last: boolean): void {
    this.#outlet.copyIn.stream(bytes, first, last)
  }

  /** A message over its cap, which was not read. */
  oversize(type: number): Done {
    const { ledger } = this.#parts
    const kind =
      type === Front.query ? 'query' : type === Front.parse || type === Front.bind ? 'extended' : null
    if (kind === null || ledger.copyIn) throw violation('a message is longer than any of its type may be')
    if (ledger.skipping) return undefined
    return this.#answer(
      kind,
      new Refused(
        'too_large',
        type === Front.bind ? 'the parameters are larger than 64 MiB' : 'the text is longer than 1 MiB',
        'send it in parts, or load data with COPY',
      ),
    )
  }

  /** Asks the server for the answers it keeps back. */
  flush(): void {
    this.#outlet.flush()
  }

  #simpleQuery(bytes: Buffer): Done {
    const text = readText(readQuery(bytes, 0, bytes.length))
    return this.#decide(text, [], (permit, read) => {
      const { statements } = read
      for (const [index, statement] of statements.entries())
        refuseUnmaskable(this.#parts, permit, statement, index)
      return this.#outlet.run(expect('query', { permit, statements }), text, read, bytes)
    })
  }

  #functionCall(bytes: Buffer): Done {
    const { text, values } = readFunctionCall(bytes, 0, bytes.length)
    return this.#decide(text, values, (permit, { meaning, at }) => {
      const statements = [noStatement]
      const expected = expect('query', { permit, statements, call: true })
      return this.#outlet.run(expected, text, { meaning, statements, at }, bytes)
    })
  }

  #decide(
    text: string,
    parameters: readonly (Uint8Array | null)[],
    use: (permit: Permit, read: TextReading) => Done,
  ): Done {
    const { state } = this.#parts
    const read = (): TextReading | Promise<TextReading> => {
      const analysis = state.analyze(text, this.#outlet.open, this.#outlet.flush)
      const placed = ({ meaning, statements }: Analysis): TextReading => ({
        meaning,
        statements,
        at: state.moment,
      })
      return analysis instanceof Promise ? analysis.then(placed) : placed(analysis)
    }
    return after(read(), (reading) => this.#outlet.decide({ text, parameters, reading, reread: read }, use))
  }

  /** Turns a refusal of one request into its answer; anything else ends the session. */
  #answer(kind: 'query' | 'extended', error: unknown): undefined {
    if (!(error instanceof Refused) || endsSession.has(error.code)) throw error
    const undecided = undecidedWords.get(error.code)
    if (undecided !== undefined) this.#parts.session.refuse(`(${undecided})`, undecided)
    const cancelled = error.code === 'approval_withdrawn'
    return this.#outlet.refuse(kind, cancelled ? cancelledMessage : refusalMessage(error, 'ERROR'))
  }
}
