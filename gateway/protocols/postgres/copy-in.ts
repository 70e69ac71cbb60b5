import type { Permit } from '../../core/gate.ts'
import { Front } from './codec.ts'
import type { Ledger } from './ledger.ts'
import type { Done, Frame, Outlet } from './outlet.ts'
import { violation } from './refusals.ts'

/** COPY … FROM STDIN: the data that a client sends (§54.2.6). */
export class CopyIn {
  readonly #ledger: Ledger
  readonly #outlet: Pick<Outlet, 'flush' | 'forward' | 'standing'>
  /** Data is being forwarded in the middle of a message. */
  #streaming: Permit | null = null
  /** The entry of the text that takes it: another COPY of the same text may begin when one was ended. */
  #entry = 0

  constructor(ledger: Ledger, outlet: Pick<Outlet, 'flush' | 'forward' | 'standing'>) {
    this.#ledger = ledger
    this.#outlet = outlet
  }

  /** The server swallows a Sync that comes while it takes COPY data, and answers one that comes before or after: so what follows waits for it to say which. */
  begin(entry: number): Done {
    this.#entry = entry
    this.#outlet.flush()
    return this.#ledger.until(() => this.#ledger.copyIn || this.#ledger.answered >= entry)
  }

  /** A message while the server takes the data. */
  take({ type, bytes }: Frame): Done {
    const ledger = this.#ledger
    switch (type) {
      case Front.copyData:
        this.#outlet.forward(this.#permit() ?? this.#outlet.standing, bytes)
        return undefined
      case Front.copyDone:
      case Front.copyFail: {
        this.#outlet.forward(this.#permit() ?? this.#outlet.standing, bytes)
        ledger.copyIn = false
        const { first } = ledger
        const more =
          first?.kind === 'query' &&
          first.statements.some(({ kind }, at) => at > ledger.done && kind === 'copy-in')
        return more ? ledger.until(() => ledger.copyIn || ledger.answered >= this.#entry) : undefined
      }
      case Front.sync:
      case Front.flush:
        return undefined
      default:
        throw violation('COPY data was expected')
    }
  }

  /** A piece of CopyData. */
  stream(bytes: Buffer, first: boolean, last: boolean): void {
    if (first) this.#streaming = this.#permit()
    if (this.#streaming !== null) this.#outlet.forward(this.#streaming, bytes)
    if (last) this.#streaming = null
  }

  #permit(): Permit | null {
    return this.#ledger.copyIn ? (this.#ledger.first?.permit ?? null) : null
  }
}
