import type { ApprovalState, ApprovalView } from '../core/contract.ts'
import { Refused } from '../core/errors.ts'
import { newId } from '../core/id.ts'
import type { Origin } from '../core/identity.ts'
import type { Config } from '../policy/schema.ts'
import type { Store } from '../store/open.ts'
import { alarm } from './alarm.ts'
import type { Answer, Approvals, Asked, Question } from './approval.ts'
import { consoleGate } from './gates/console.ts'
import type { ApprovalGate } from './gates/gate.ts'
import { type PlaceLimits, Places } from './places.ts'
import { groupsOf, isRequester, standing } from './quorum.ts'
import { collision, notAnApprover, notFound, refusalOf, stillPending, withdrawn } from './refusals.ts'
import { narrowest, reachOf, timeoutOf } from './reach.ts'
import {
  type ApprovalFilter,
  type Row,
  answersOf,
  groupsAsked,
  linkOf,
  originOf,
  selectRows,
  selfAndBelow,
  viewsOf,
} from './rows.ts'

/** What a person answers. `gate` is where: the `gates:` entry it came by. */
export interface GivenAnswer {
  readonly person: string
  readonly gate: string
  readonly answer: 'approve' | 'deny'
  readonly reason: string
}

/** What became of an answer. */
export type Outcome =
  | { readonly kind: 'decided'; readonly state: 'approved' | 'denied' }
  /** It counts, and others have to answer too. */
  | { readonly kind: 'counted'; readonly missing: readonly { group: string; people: number }[] }
  /** The approval was over before. */
  | { readonly kind: 'late'; readonly state: Exclude<ApprovalState, 'pending'> }

export type ApprovalEvent =
  | {
      readonly kind: 'asked' | 'concluded'
      readonly id: string
      readonly state: ApprovalState
      readonly waitedMs: number
    }
  | { readonly kind: 'gate-failed'; readonly id: string; readonly gate: string; readonly error: unknown }

export interface ApprovalsOptions {
  readonly store: Store
  /** The configuration in force at the moment of the call. */
  readonly config: () => Config
  /** `gateway.url`. */
  readonly url: string
  /** Where people are asked; the console alone, when absent. */
  readonly gates?: readonly ApprovalGate[]
  /** Milliseconds since the epoch. */
  readonly clock?: () => number
  readonly onEvent?: (event: ApprovalEvent) => void
  readonly limits?: PlaceLimits
}

/** The approvals of this gateway. */
export interface LiveApprovals extends Approvals {
  list(filter: ApprovalFilter): Promise<readonly ApprovalView[]>
  /** Null when there is none of this id, or none within the identity `within`. */
  show(id: string, within?: string): Promise<ApprovalView | null>
  /** Rejects with `Refused`: `not_found`, or `denied` when this person's answer does not count. */
  answer(id: string, given: GivenAnswer): Promise<Outcome>
  /** Withdraws what is pending. */
  close(): Promise<void>
}

/** One question whose session waits here. */
interface Waiter {
  readonly question: Question
  readonly askedAt: number
  readonly settle: (state: Exclude<ApprovalState, 'pending'>, answers: readonly Answer[]) => void
  /** True when whoever asked has left, and nobody has joined since. */
  readonly left: boolean
  /** Waits for it in place of whoever left. */
  join(signal: AbortSignal): Asked
}

/** Who waits for an outcome now. */
interface Claim {
  readonly resolve: (outcome: { answers: readonly Answer[] }) => void
  readonly reject: (why: unknown) => void
  /** Stops listening for their leaving. */
  readonly leave: () => void
}

const REASON_CAP = 1000
const defaults = { pending: 10_000, pendingPerJob: 100, askedPerMinute: 120 }

/** Opens the approvals over the store. Those that a gateway left pending are withdrawn: the sessions that waited are gone. */
export async function createApprovals(options: ApprovalsOptions): Promise<LiveApprovals> {
  const approvals = new StoredApprovals(options)
  await approvals.recover()
  return approvals
}

class StoredApprovals implements LiveApprovals {
  readonly #options: ApprovalsOptions
  readonly #now: () => number
  readonly #places: Places
  readonly #waiters = new Map<string, Waiter>()

  constructor(options: ApprovalsOptions) {
    this.#options = options
    this.#now = options.clock ?? Date.now
    this.#places = new Places(options.limits ?? defaults)
  }

  async recover(): Promise<void> {
    await this.#options.store.db
      .updateTable('approvals')
      .set({ state: 'withdrawn', decided_at: this.#now() })
      .where('state', '=', 'pending')
      .execute()
  }

  async ask(question: Question, signal: AbortSignal): Promise<Asked> {
    if (signal.aborted) throw withdrawn([])
    const left = this.#left(question)
    if (left !== null) return left.join(signal)
    const reused = await this.#reusable(question)
    if (reused !== null) return reused
    const release = this.#places.take(question.identity)
    try {
      const row = await this.#insert(question)
      return this.#wait(row, question, signal, release)
    } catch (error) {
      release()
      throw error
    }
  }

  async answer(id: string, given: GivenAnswer): Promise<Outcome> {
    const config = this.#options.config()
    const now = this.#now()
    const outcome = await this.#options.store.transaction(async (tx) => {
      const row = await tx.selectFrom('approvals').selectAll().where('id', '=', id).executeTakeFirst()
      if (row === undefined) throw notFound(id)
      const by = groupsAsked(row)
      const groups = groupsOf({ person: given.person, gate: given.gate, by, config })
      if (groups.length === 0) throw notAnApprover(given.person, given.gate, by)
      if (row.state !== 'pending') return { kind: 'late' as const, state: row.state, answers: [] }
      if (row.expires_at <= now) return { kind: 'expired' as const, answers: answersOf(row) }
      const origin = this.#waiters.get(id)?.question.identity.origin ?? (await originOf(tx, row.identity))
      this.#refuseRequester(given, origin, config)
      const answers = mergeAnswers(answersOf(row), given, groups, now)
      const verdict = standing(by, answers, config)
      const state = verdict.kind === 'open' ? 'pending' : verdict.kind
      const { numUpdatedRows } = await tx
        .updateTable('approvals')
        .set({ state, answers: JSON.stringify(answers), ...(state !== 'pending' && { decided_at: now }) })
        .where('id', '=', id)
        .where('state', '=', 'pending')
        // Another gateway on the same store may have counted an answer since: then this one has to be counted anew.
        .where('answers', '=', row.answers)
        .executeTakeFirst()
      if (numUpdatedRows === 0n) throw collision()
      if (verdict.kind === 'open') return { kind: 'counted' as const, missing: [...verdict.missing] }
      return { kind: 'decided' as const, state: verdict.kind, answers }
    })
    if (outcome.kind === 'expired') {
      await this.#conclude(id, 'expired', outcome.answers)
      return { kind: 'late', state: 'expired' }
    }
    if (outcome.kind === 'decided') this.#waiters.get(id)?.settle(outcome.state, outcome.answers)
    if (outcome.kind === 'counted') return outcome
    return outcome.kind === 'late'
      ? { kind: 'late', state: outcome.state }
      : { kind: 'decided', state: outcome.state }
  }

  async list(filter: ApprovalFilter): Promise<readonly ApprovalView[]> {
    const { store, url } = this.#options
    return viewsOf(store.db, await selectRows(store.db, filter), url)
  }

  async show(id: string, within?: string): Promise<ApprovalView | null> {
    const { store, url } = this.#options
    let query = store.db.selectFrom('approvals').selectAll().where('id', '=', id)
    if (within !== undefined) query = query.where('identity', 'in', selfAndBelow(within))
    const row = await query.executeTakeFirst()
    return row === undefined ? null : ((await viewsOf(store.db, [row], url))[0] ?? null)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#waiters.keys()].map((id) => this.#conclude(id, 'withdrawn', [])))
  }

  /** What one started, another has to approve: fails closed when it cannot be told who started it. */
  #refuseRequester(given: GivenAnswer, origin: Origin | null, config: Config): void {
    if (given.answer === 'deny') return
    if (origin === null || isRequester(given.person, origin, config)) {
      throw new Refused(
        'denied',
        `${given.person} set off the job that asks`,
        'have somebody else approve it',
      )
    }
  }

  /** An earlier approval that reaches this far: same identity, connection, rule, groups, text and parameters, and people who may still approve. */
  async #reusable(question: Question): Promise<Asked | null> {
    const { store, url } = this.#options
    const config = this.#options.config()
    const now = this.#now()
    const reach = reachOf(narrowest(question.by, config))
    if (reach === 0) return null
    const rows = await store.db
      .selectFrom('approvals')
      .selectAll()
      .where('identity', '=', question.identity.id)
      .where('digest', '=', question.digest)
      .where('connection', '=', question.connection)
      .where('rule', '=', question.rule)
      .where('by', '=', JSON.stringify(question.by))
      .where('state', '=', 'approved')
      .orderBy('decided_at', 'desc')
      .limit(1)
      .execute()
    const [row] = rows
    if (row === undefined || row.decided_at === null) return null
    const until = row.decided_at + Math.min(reach, reachOf(row.reach))
    const answers = answersOf(row)
    if (until <= now || standing(question.by, answers, config).kind !== 'approved') return null
    return {
      id: row.id,
      url: linkOf(url, row.id),
      expiresAt: Math.min(until, question.identity.expiresAt),
      outcome: Promise.resolve({ answers }),
    }
  }

  async #insert(question: Question): Promise<Row> {
    const config = this.#options.config()
    const now = this.#now()
    const row: Row = {
      id: newId('apr'),
      state: 'pending',
      identity: question.identity.id,
      session: question.session,
      connection: question.connection,
      stage: question.identity.stage,
      by: JSON.stringify(question.by),
      rule: question.rule,
      operations: JSON.stringify(
        question.operations.map(({ actions, resource }) => ({ action: actions[0], resource })),
      ),
      statement: question.statement,
      digest: question.digest,
      requested_at: now,
      expires_at: now + timeoutOf(question.by, config),
      decided_at: null,
      answers: '[]',
      reach: narrowest(question.by, config),
    }
    await this.#options.store.db.insertInto('approvals').values(row).execute()
    return row
  }

  /** A question that lingers and is this one: the same identity, connection, rule, groups, text and parameters. */
  #left(question: Question): Waiter | null {
    if (!question.linger) return null
    for (const waiter of this.#waiters.values()) {
      const { question: asked, left } = waiter
      if (
        left &&
        asked.identity.id === question.identity.id &&
        asked.connection === question.connection &&
        asked.rule === question.rule &&
        asked.digest === question.digest &&
        asked.by.join('\0') === question.by.join('\0')
      )
        return waiter
    }
    return null
  }

  #wait(row: Row, question: Question, signal: AbortSignal, release: () => void): Asked {
    const { id, expires_at: expiresAt } = row
    const { ended } = question.identity
    const url = linkOf(this.#options.url, id)
    let claim: Claim | null = null
    let settled: { state: Exclude<ApprovalState, 'pending'>; answers: readonly Answer[] } | null = null
    let lingering: NodeJS.Timeout | undefined
    const forget = (): void => {
      this.#waiters.delete(id)
      clearTimeout(lingering)
      ended.removeEventListener('abort', withdraw)
      release()
    }
    /** Gives the outcome to whoever waits; kept for whoever comes again when nobody does. */
    const hand = (): void => {
      if (settled === null || claim === null) return
      const { resolve, reject } = claim
      const { state, answers } = settled
      claim.leave()
      forget()
      if (state === 'approved') void this.#use(row).then(() => resolve({ answers }), reject)
      else reject(refusalOf(state, answers))
    }
    const withdraw = (): void => {
      // Approved, and nobody came back for it in time: it is good for nothing any more, whether or not the store can say so.
      if (settled?.state === 'approved' && reachOf(row.reach) === 0)
        void this.#giveUp(id).catch(() => undefined)
      if (settled === null) this.#concludeQuietly(id, 'withdrawn')
      else forget()
    }
    const timer = alarm(expiresAt, this.#now, () => this.#concludeQuietly(id, 'expired'))
    const join = (joined: AbortSignal): Asked => {
      clearTimeout(lingering)
      const { promise, resolve, reject } = Promise.withResolvers<{ answers: readonly Answer[] }>()
      // Whoever asked may have left before looking at the outcome; that is no fault of the process.
      promise.catch(() => undefined)
      const leave = (): void => {
        if (!question.linger || ended.aborted) return withdraw()
        claim?.leave()
        claim = null
        lingering = setTimeout(withdraw, question.linger)
        lingering.unref()
        reject(stillPending(id, url))
      }
      claim = { resolve, reject, leave: () => joined.removeEventListener('abort', leave) }
      if (joined.aborted) leave()
      else joined.addEventListener('abort', leave, { once: true })
      hand()
      return { id, url, expiresAt, outcome: promise }
    }
    this.#waiters.set(id, {
      question,
      askedAt: row.requested_at,
      get left() {
        return claim === null
      },
      join,
      settle: (state, answers) => {
        if (settled !== null) return
        settled = { state, answers }
        timer.cancel()
        this.#tellGates(row, 'conclude')
        this.#emit({ kind: 'concluded', id, state, waitedMs: this.#now() - row.requested_at })
        if (claim === null && state === 'withdrawn') forget()
        else hand()
      },
    })
    this.#emit({ kind: 'asked', id, state: 'pending', waitedMs: 0 })
    this.#tellGates(row, 'announce')
    ended.addEventListener('abort', withdraw, { once: true })
    return join(signal)
  }

  /** Ends an approval that nobody came back for. */
  async #giveUp(id: string): Promise<void> {
    await this.#options.store.db
      .updateTable('approvals')
      .set({ state: 'withdrawn' })
      .where('id', '=', id)
      .where('state', '=', 'approved')
      .execute()
  }

  /** Uses an approval that is good once up, before what it lets pass goes on. */
  async #use(row: Row): Promise<void> {
    if (reachOf(row.reach) > 0) return
    const { numUpdatedRows } = await this.#options.store.db
      .updateTable('approvals')
      .set({ state: 'used' })
      .where('id', '=', row.id)
      .where('state', '=', 'approved')
      .executeTakeFirst()
    if (numUpdatedRows === 0n) throw withdrawn([])
  }

  #concludeQuietly(id: string, state: 'expired' | 'withdrawn'): void {
    const answers: readonly Answer[] = []
    this.#conclude(id, state, answers).catch(() => {
      // The store is gone: the row stays pending and is withdrawn at the next start; the session is let go now.
      this.#waiters.get(id)?.settle(state, answers)
    })
  }

  /** Ends a pending approval; whoever was first has won, and then settles the waiter. */
  async #conclude(id: string, state: 'expired' | 'withdrawn', answers: readonly Answer[]): Promise<void> {
    const { numUpdatedRows } = await this.#options.store.db
      .updateTable('approvals')
      .set({ state, decided_at: this.#now() })
      .where('id', '=', id)
      .where('state', '=', 'pending')
      .executeTakeFirst()
    if (numUpdatedRows > 0n) this.#waiters.get(id)?.settle(state, answers)
  }

  #tellGates(row: Row, what: 'announce' | 'conclude'): void {
    const config = this.#options.config()
    const wanted = new Set(
      groupsAsked(row).flatMap(
        (group) => config.approvers[group]?.gates.flatMap((gate) => Object.keys(gate)) ?? [],
      ),
    )
    for (const gate of this.#options.gates ?? [consoleGate]) {
      if (!wanted.has(gate.name)) continue
      this.show(row.id)
        .then((view) => (view === null ? undefined : gate[what](view)))
        .catch((error: unknown) => this.#emit({ kind: 'gate-failed', id: row.id, gate: gate.name, error }))
    }
  }

  #emit(event: ApprovalEvent): void {
    this.#options.onEvent?.(event)
  }
}

/** A person's new answer takes the place of their older one. */
function mergeAnswers(
  answers: readonly Answer[],
  { person, gate, answer, reason }: GivenAnswer,
  groups: readonly string[],
  at: number,
): readonly Answer[] {
  const kept = answers.filter((old) => old.person !== person || !groups.includes(old.group))
  const clean = reason.replaceAll(/\p{Cc}/gu, ' ').slice(0, REASON_CAP)
  return [...kept, ...groups.map((group) => ({ person, group, gate, answer, reason: clean, at }))]
}
