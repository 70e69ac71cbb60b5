import type { ApprovalState, ApprovalView } from '../core/contract.ts'
import type { Origin } from '../core/identity.ts'
import type { AccountAnswer, Answer, Asked, GivenAnswer, Glass, Outcome, Question } from './approval.ts'
import { changeState, cleanReason, decideRow, findReusable, insertRow } from './decisions.ts'
import { consoleGate } from './gates/console.ts'
import type { Alarm } from './gates/gate.ts'
import { ledgerGate } from './gates/ledger.ts'
import type { ApprovalEvent, ApprovalsOptions, LiveApprovals } from './live-approvals.ts'
import { githubStarters } from '../platforms/github-apps.ts'
import { nobodys, personOf } from './people.ts'
import { Places } from './places.ts'
import type { PostingRow } from './posting-rows.ts'
import { Postings } from './postings.ts'
import { standing } from './quorum.ts'
import { reachOf } from './reach.ts'
import { Requesters } from './requesters.ts'
import { noLongerApproved, withdrawn } from './refusals.ts'
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
import { Sweep } from './sweep.ts'
import { Waiter } from './waiter.ts'

const defaults = { pending: 10_000, pendingPerJob: 100, askedPerMinute: 120 }

/** Opens the approvals over the store. What a gateway left pending is withdrawn, for the sessions that waited are gone; what lingers can be joined by the same request. */
export async function createApprovals(options: ApprovalsOptions): Promise<LiveApprovals> {
  const approvals = new StoredApprovals(options)
  await approvals.recover()
  return approvals
}

class StoredApprovals implements LiveApprovals {
  readonly #options: ApprovalsOptions
  readonly #now: () => number
  readonly #places: Places
  readonly #postings: Postings
  readonly #waiters = new Map<string, Waiter>()
  readonly #requesters: Requesters
  readonly #sweep: Sweep

  constructor(options: ApprovalsOptions) {
    this.#options = options
    this.#now = options.clock ?? Date.now
    this.#places = new Places(options.limits ?? defaults)
    const { config, startersOf = (origin) => githubStarters(new Map(), origin) } = options
    this.#requesters = new Requesters({ config, startersOf })
    this.#postings = new Postings({
      store: options.store,
      gates: [...(options.gates ?? [consoleGate]), ledgerGate((alarm) => this.#note(alarm))],
      config: options.config,
      read: (id) => this.#read(id),
      failed: (id, gate, error) => this.#emit({ kind: 'gate-failed', id, gate, error }),
      untold: (id, gate, why) => this.#emit({ kind: 'alarm-untold', id, gate, why }),
      times: options.times,
    })
    this.#sweep = new Sweep({
      store: options.store,
      waiting: () => [...this.#waiters.values()].filter(({ settled }) => !settled).map(({ row }) => row.id),
      over: (row) => this.#over(row.id, row.state, answersOf(row)),
      failed: (error) => this.#emit({ kind: 'store-failed', id: null, error }),
    })
  }

  async recover(): Promise<void> {
    const { store } = this.#options
    const now = this.#now()
    const left = await store.db
      .selectFrom('approvals')
      .selectAll()
      .where((is) =>
        is.or([
          is('state', '=', 'pending'),
          is.and([is('state', '=', 'approved'), is('reach', '=', 'once')]),
        ]),
      )
      .execute()
    for (const row of left) {
      const lasts = row.linger > 0 && (row.decided_at ?? now) + row.linger > now && row.expires_at > now
      if (!lasts) await changeState(store, row.id, { from: row.state, to: 'withdrawn', at: now })
      else this.#restore(row)
    }
    await this.#postings.recover()
  }

  async ask(question: Question, signal: AbortSignal): Promise<Asked> {
    if (signal.aborted) throw withdrawn([])
    // Nobody is asked what nobody could approve, as far as the token tells; the rest turns out when somebody answers.
    this.#requesters.admit(question.identity.origin)
    for (const waiter of this.#waiters.values())
      if (waiter.awaits(question)) return waiter.join(question.identity, signal)
    const { store, url, config } = this.#options
    const reused = await findReusable(store, question, config(), this.#now())
    if (reused !== null) {
      const { row, answers, until } = reused
      return {
        id: row.id,
        url: linkOf(url, row.id),
        expiresAt: Math.min(until, question.identity.expiresAt),
        outcome: Promise.resolve({ answers }),
      }
    }
    const release = this.#places.take(question.identity)
    try {
      const { row, postings } = await insertRow(store, question, config(), this.#now())
      const waiter = this.#wait(row, release)
      this.#emit({ kind: 'asked', id: row.id, state: 'pending', waitedMs: 0 })
      this.#postings.open(row.id, postings)
      this.#requesters.learn(question.identity.origin)
      return waiter.join(question.identity, signal)
    } catch (error) {
      release()
      throw error
    }
  }

  async answerAs(id: string, { account, ...given }: AccountAnswer): Promise<Outcome> {
    const person = personOf(account, this.#options.config())
    if (person === null) throw nobodys(account)
    return this.answer(id, { person, ...given })
  }

  async answer(id: string, given: GivenAnswer): Promise<Outcome> {
    const { store, config } = this.#options
    if (given.answer === 'approve') await this.#refuseRequester(id, given.person)
    const now = this.#now()
    const alarms = this.#alarmsOf(id, given, now)
    const decided = await decideRow(store, id, given, { config: config(), now, alarms })
    // Breaking the glass is for everybody to see, and on record before what it lets pass goes on.
    if (decided.kind === 'decided' || decided.kind === 'counted') await this.#postings.alarm(alarms)
    switch (decided.kind) {
      case 'expired':
        await this.#conclude(id, 'expired', decided.answers)
        return { kind: 'late', state: 'expired' }
      case 'decided':
        this.#over(id, decided.state, decided.answers)
        return { kind: 'decided', state: decided.state }
      case 'counted':
      case 'late':
        return decided
    }
  }

  look(id: string, gate: string): void {
    this.#postings.look(id, gate)
  }

  async list(filter: ApprovalFilter): Promise<readonly ApprovalView[]> {
    const { store } = this.#options
    return this.#views(await selectRows(store.db, filter))
  }

  async show(id: string, within?: string): Promise<ApprovalView | null> {
    const { store } = this.#options
    let query = store.db.selectFrom('approvals').selectAll().where('id', '=', id)
    if (within !== undefined) query = query.where('identity', 'in', selfAndBelow(within))
    const row = await query.executeTakeFirst()
    return row === undefined ? null : ((await this.#views([row]))[0] ?? null)
  }

  async close(): Promise<void> {
    this.#sweep.close()
    const open = [...this.#waiters.values()]
    const lasting = open.filter(({ row }) => row.linger > 0)
    for (const waiter of lasting) waiter.drop()
    await Promise.all(
      open.filter(({ row }) => row.linger === 0).map(({ row }) => this.#conclude(row.id, 'withdrawn', [])),
    )
    this.#postings.close()
  }

  /** What one started, another has to approve: fails closed when it cannot be told who started it. */
  async #refuseRequester(id: string, person: string): Promise<void> {
    const { store } = this.#options
    const row = await store.db
      .selectFrom('approvals')
      .select('identity')
      .where('id', '=', id)
      .where('state', '=', 'pending')
      .executeTakeFirst()
    // What is over, or was never there, is told apart when the answer is counted.
    if (row === undefined) return
    await this.#requesters.refuse(
      person,
      this.#waiters.get(id)?.origin ?? (await originOf(store.db, row.identity)),
    )
  }

  #wait(row: Row, release: () => void): Waiter {
    const { store, url } = this.#options
    const { id } = row
    const waiter = new Waiter(row, {
      now: this.#now,
      url: linkOf(url, id),
      conclude: (state) =>
        void this.#conclude(id, state, []).catch((error: unknown) => {
          // The row stays pending until the next start; the session is refused now.
          this.#emit({ kind: 'store-failed', id, error })
          this.#over(id, state, [])
        }),
      giveUp: () =>
        // Whether or not the store can say so, nobody can join it any more.
        void changeState(store, id, { from: 'approved', to: 'withdrawn' }).catch((error: unknown) =>
          this.#emit({ kind: 'store-failed', id, error }),
        ),
      use: () => this.#use(row),
      forget: () => {
        if (this.#waiters.get(id) === waiter) this.#waiters.delete(id)
        release()
      },
    })
    this.#waiters.set(id, waiter)
    return waiter
  }

  /** Somebody may still come again for it, as if the gateway had never stopped. */
  #restore(row: Row): void {
    const waiter = this.#wait(row, () => undefined)
    if (row.state === 'approved') waiter.settle('approved', answersOf(row))
    waiter.linger(row.linger)
  }

  /** Uses an approval that is good once up, before what it lets pass goes on; people who have left their group since approve nothing. */
  async #use(row: Row): Promise<void> {
    const { store, config } = this.#options
    const now = await store.db
      .selectFrom('approvals')
      .selectAll()
      .where('id', '=', row.id)
      .where('state', '=', 'approved')
      .executeTakeFirst()
    if (now === undefined) throw withdrawn([])
    if (standing(groupsAsked(row), answersOf(now), config()).kind !== 'approved') {
      await changeState(store, row.id, { from: 'approved', to: 'withdrawn' })
      throw noLongerApproved()
    }
    if (reachOf(row.reach) > 0) return
    if (!(await changeState(store, row.id, { from: 'approved', to: 'used' }))) throw withdrawn([])
  }

  /** Ends a pending approval; whoever was first has won. */
  async #conclude(id: string, state: 'expired' | 'withdrawn', answers: readonly Answer[]): Promise<void> {
    const won = await changeState(this.#options.store, id, { from: 'pending', to: state, at: this.#now() })
    if (won) this.#over(id, state, answers)
  }

  /** Says that an approval is over, once: to whoever waits here, and at the gates. */
  #over(id: string, state: Exclude<ApprovalState, 'pending'>, answers: readonly Answer[]): void {
    const waiter = this.#waiters.get(id)
    if (waiter === undefined || waiter.settled) return
    this.#emit({ kind: 'concluded', id, state, waitedMs: this.#now() - waiter.row.requested_at })
    this.#postings.conclude(id)
    waiter.settle(state, answers)
  }

  #alarmsOf(
    id: string,
    { person, gate, answer, reason, breakGlass }: GivenAnswer,
    at: number,
  ): readonly PostingRow[] {
    if (breakGlass !== true || answer !== 'approve') return []
    const glass: Glass = { person, gate, reason: cleanReason(reason), at }
    return this.#postings.alarmsFor(id, glass)
  }

  /** The gateway's own record of broken glass, through the event. */
  async #note({ approval: { id }, glass: { person, gate, reason } }: Alarm): Promise<void> {
    const row = await this.#options.store.db
      .selectFrom('approvals')
      .select(['identity', 'connection', 'rule'])
      .where('id', '=', id)
      .executeTakeFirstOrThrow()
    this.#emit({ kind: 'glass-broken', id, ...row, person, gate, reason })
  }

  async #read(id: string): Promise<{ view: ApprovalView; origin: Origin | null } | null> {
    const { store } = this.#options
    const row = await store.db.selectFrom('approvals').selectAll().where('id', '=', id).executeTakeFirst()
    const [view] = row === undefined ? [] : await this.#views([row])
    if (row === undefined || view === undefined) return null
    return { view, origin: this.#waiters.get(id)?.origin ?? (await originOf(store.db, row.identity)) }
  }

  #views(rows: readonly Row[]): Promise<readonly ApprovalView[]> {
    const { store, url, config } = this.#options
    return viewsOf(store.db, rows, { url, config: config() })
  }

  #emit(event: ApprovalEvent): void {
    this.#options.onEvent?.(event)
  }
}
