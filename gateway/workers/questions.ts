import type { Answer, Approvals, Asked, Question } from '../approvals/approval.ts'
import { withdrawn } from '../approvals/refusals.ts'
import type { GatewayCalls, WorkerCalls } from './calls.ts'
import type { Line } from './line.ts'
import { unpackError } from './packed-error.ts'

type Told = Parameters<WorkerCalls['outcome']>[0]

/** After a question was taken back, what became of it is waited for no longer than this. */
const WITHDRAWN_MS = 10_000

/** What sessions of this process ask people, by way of the gateway. */
export class Questions implements Approvals {
  readonly #line: Line<GatewayCalls>
  readonly #open = new Map<number, (outcome: Told['outcome']) => void>()
  #count = 0

  constructor(line: Line<GatewayCalls>) {
    this.#line = line
  }

  async ask({ identity: _identity, ...question }: Question, signal: AbortSignal): Promise<Asked> {
    if (signal.aborted) throw withdrawn([])
    const number = ++this.#count
    const { session } = question
    const { promise, resolve, reject } = Promise.withResolvers<{ answers: readonly Answer[] }>()
    // Whoever asked may have left before looking at the outcome.
    promise.catch(() => undefined)
    let late: NodeJS.Timeout | undefined
    const over = (): void => {
      clearTimeout(late)
      signal.removeEventListener('abort', leave)
      this.#open.delete(number)
    }
    const leave = (): void => {
      this.#line.tell('withdraw', { session, number })
      late = setTimeout(() => {
        over()
        reject(withdrawn([]))
      }, WITHDRAWN_MS)
    }
    this.#open.set(number, (outcome) => {
      over()
      if (outcome.kind === 'approved') resolve({ answers: outcome.answers })
      else reject(unpackError(outcome.error))
    })
    signal.addEventListener('abort', leave, { once: true })
    try {
      const asked = await this.#line.ask('ask', { number, question })
      return { ...asked, outcome: promise }
    } catch (error) {
      over()
      throw error
    }
  }

  settle({ number, outcome }: Told): void {
    this.#open.get(number)?.(outcome)
  }
}
