import { inputMessage } from '../../core/contract.ts'
import { Refused } from '../../core/errors.ts'
import { TryLater } from '../../platforms/call.ts'
import type { Jenkins, JenkinsInput } from '../../platforms/jenkins.ts'
import type { AnswerDesk, ApprovalGate, Posting } from './gate.ts'

const NAME = 'jenkins-input'
const LOOK_MS = 3000

/**
 * Asks by an `input` step that the shared library puts beside the block of the build that waits. The Jenkinsfile's word for who
 * answered counts nothing: the approver is read from the controller. It tells who answered, and not which `input`; so
 * the answer counts only when ours, with exactly our words, was the only one that waited in the build when last seen, and
 * is gone with exactly one approver more.
 */
export class JenkinsInputGate implements ApprovalGate {
  readonly name = NAME
  readonly lookEvery = LOOK_MS
  readonly #jenkinses: ReadonlyMap<string, Jenkins>
  readonly #desk: AnswerDesk
  /** How many had approved something in the build when ours was last seen waiting alone. */
  readonly #seen = new Map<string, number>()
  /** Why the last answer did not count. */
  readonly #refused = new Map<string, Refused>()

  constructor(options: { readonly jenkinses: ReadonlyMap<string, Jenkins>; readonly desk: AnswerDesk }) {
    this.#jenkinses = options.jenkinses
    this.#desk = options.desk
  }

  async announce(posting: Posting): Promise<{ handle: string; url?: string }> {
    const { jenkins, page } = this.#buildOf(posting)
    const { building } = await jenkins.build(page, posting.signal)
    if (!building) throw new Refused('upstream_failed', 'the build has ended', 'answer by another gate')
    return { handle: page, url: `${page}input/` }
  }

  async look(posting: Posting): Promise<void> {
    const { approval, groups, signal } = posting
    const { jenkins, page } = this.#buildOf(posting)
    // In this order: an answer in between is then seen the next time, and never taken for an older one.
    const { approvers } = await jenkins.build(page, signal)
    const waiting = await jenkins.inputs(page, signal)
    if (waiting.some((input) => isOurs(input, posting))) {
      this.#seen.delete(approval.id)
      this.#refused.delete(approval.id)
      if (waiting.length > 1) {
        throw new Refused(
          'denied',
          'another `input` waits in the same build, and Jenkins does not tell which of them was answered',
          'answer the other one first, or answer by another gate',
        )
      }
      this.#seen.set(approval.id, approvers.length)
      return
    }
    const before = this.#seen.get(approval.id)
    const answered = before !== undefined && waiting.length === 0 && approvers.length === before + 1
    if (!answered) {
      this.#seen.delete(approval.id)
      const refused = this.#refused.get(approval.id)
      if (refused !== undefined) throw refused
      return
    }
    const account = { kind: 'jenkins', id: approvers.at(-1) ?? '' } as const
    try {
      await this.#desk.answer(approval.id, { account, gate: NAME, groups, answer: 'approve', reason: '' })
    } catch (error) {
      // What may pass is tried again; what was refused stays to be seen until somebody else answers.
      if (error instanceof TryLater) throw error
      this.#seen.delete(approval.id)
      if (error instanceof Refused) this.#refused.set(approval.id, error)
      throw error
    }
  }

  conclude({ approval }: Posting): Promise<void> {
    // The library sees that it is over, and takes its `input` away.
    this.#seen.delete(approval.id)
    this.#refused.delete(approval.id)
    return Promise.resolve()
  }

  #buildOf({ origin }: Posting): { jenkins: Jenkins; page: string } {
    const jenkins = origin === null ? undefined : this.#jenkinses.get(origin.issuer)
    const page = origin?.url ?? null
    if (jenkins !== undefined && page !== null) return { jenkins, page }
    throw new Refused(
      'unsupported',
      'the job is not of a Jenkins issuer with `user` and `token`, so nobody can be asked there',
      'answer by another gate',
    )
  }
}

/** Jenkins makes the first letter of an input's id a capital. Other words could ask for something else under the same id. */
function isOurs({ id, message }: JenkinsInput, { approval }: Posting): boolean {
  return id.toLowerCase() === approval.id.toLowerCase() && message === inputMessage(approval)
}
