import type { ApprovalState } from '../core/contract.ts'
import { newId } from '../core/id.ts'
import { shownOperation } from '../core/operation.ts'
import type { Config } from '../policy/schema.ts'
import type { Store } from '../store/open.ts'
import type { Answer, GivenAnswer, Question } from './approval.ts'
import { type PostingRow, keepRows, questionRows } from './posting-rows.ts'
import { groupOf, groupsOf, standing } from './quorum.ts'
import { narrowest, reachOf, timeoutOf } from './reach.ts'
import { collision, notAnApprover, notFound, unexplained } from './refusals.ts'
import { type Row, answersOf, groupsAsked } from './rows.ts'

// Every change of an approval's state is one statement that names the state it changes: whoever is first has won, among
// gates as among gateways, and the others learn it from how many rows changed.

const REASON_CAP = 1000

/** What an answer did to its approval. */
export type Decided =
  | { readonly kind: 'decided'; readonly state: 'approved' | 'denied'; readonly answers: readonly Answer[] }
  | { readonly kind: 'counted'; readonly missing: readonly { group: string; people: number }[] }
  | { readonly kind: 'late'; readonly state: Exclude<ApprovalState, 'pending'> }
  | { readonly kind: 'expired'; readonly answers: readonly Answer[] }

/** Puts a question into the store, and where it has to be asked. */
export async function insertRow(
  store: Store,
  question: Question,
  config: Config,
  now: number,
): Promise<{ readonly row: Row; readonly postings: readonly PostingRow[] }> {
  const row: Row = {
    id: newId('apr'),
    state: 'pending',
    identity: question.identity.id,
    session: question.session,
    connection: question.connection,
    stage: question.identity.stage,
    by: JSON.stringify(question.by),
    rule: question.rule,
    policy: question.policy,
    operations: JSON.stringify(question.operations.map(shownOperation)),
    statement: question.statement,
    masks: JSON.stringify(question.masks),
    digest: question.digest,
    requested_at: now,
    expires_at: now + timeoutOf(question.by, config),
    decided_at: null,
    answers: '[]',
    reach: narrowest(question.by, config),
    linger: question.linger ?? 0,
  }
  const postings = questionRows(row.id, question.by, config)
  await store.transaction(async (tx) => {
    await tx.insertInto('approvals').values(row).execute()
    await keepRows(tx, postings)
  })
  return { row, postings }
}

/** Counts an answer of a person who is not the requester, and keeps with it what has to be told of it; rejects with `Refused` when it cannot count. */
export function decideRow(
  store: Store,
  id: string,
  given: GivenAnswer,
  {
    config,
    now,
    alarms,
  }: { readonly config: Config; readonly now: number; readonly alarms: readonly PostingRow[] },
): Promise<Decided> {
  return store.transaction(async (tx) => {
    const row = await tx.selectFrom('approvals').selectAll().where('id', '=', id).executeTakeFirst()
    if (row === undefined) throw notFound(id)
    const by = groupsAsked(row)
    const groups = groupsOf(by, given, config)
    if (groups.length === 0) throw notAnApprover(given, by)
    if (row.state !== 'pending') return { kind: 'late' as const, state: row.state }
    if (row.expires_at <= now) return { kind: 'expired' as const, answers: answersOf(row) }
    requireReason(given, groups, config)
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
    await keepRows(tx, alarms)
    if (verdict.kind === 'open') return { kind: 'counted' as const, missing: [...verdict.missing] }
    return { kind: 'decided' as const, state: verdict.kind, answers }
  })
}

/** Takes an approval from one state to another; false when it was no longer in the first. */
export async function changeState(
  store: Store,
  id: string,
  change: {
    readonly from: ApprovalState
    readonly to: Exclude<ApprovalState, 'pending'>
    /** When it is decided by this. */
    readonly at?: number
  },
): Promise<boolean> {
  const { numUpdatedRows } = await store.db
    .updateTable('approvals')
    .set({ state: change.to, ...(change.at !== undefined && { decided_at: change.at }) })
    .where('id', '=', id)
    .where('state', '=', change.from)
    .executeTakeFirst()
  return numUpdatedRows > 0n
}

/** An earlier approval that reaches this far: same identity, connection, rule, groups, text and parameters, and people who may still approve. */
export async function findReusable(
  store: Store,
  question: Question,
  config: Config,
  now: number,
): Promise<{ readonly row: Row; readonly answers: readonly Answer[]; readonly until: number } | null> {
  const reach = reachOf(narrowest(question.by, config))
  if (reach === 0) return null
  const row = await store.db
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
    .executeTakeFirst()
  if (row === undefined || row.decided_at === null) return null
  const until = row.decided_at + Math.min(reach, reachOf(row.reach))
  const answers = answersOf(row)
  if (until <= now || standing(question.by, answers, config).kind !== 'approved') return null
  return { row, answers, until }
}

/** Reasons are asked of who lets something pass, not of who stops it. */
function requireReason(given: GivenAnswer, groups: readonly string[], config: Config): void {
  if (given.answer === 'deny' || given.reason.trim() !== '') return
  if (given.breakGlass === true) throw unexplained('who breaks the glass')
  const strict = groups.find((group) => groupOf(group, config)?.reason === 'required')
  if (strict !== undefined) throw unexplained(`group ${strict}`)
}

/** A reason as it is kept and shown: a line, bounded. */
export function cleanReason(reason: string): string {
  return reason.replaceAll(/\p{Cc}/gu, ' ').slice(0, REASON_CAP)
}

/** A person's new answer takes the place of their older one. */
function mergeAnswers(
  answers: readonly Answer[],
  { person, gate, answer, reason, breakGlass }: GivenAnswer,
  groups: readonly string[],
  at: number,
): readonly Answer[] {
  const kept = answers.filter((old) => old.person !== person || !groups.includes(old.group))
  const clean = cleanReason(reason)
  const glass = breakGlass === true && answer === 'approve' ? { breakGlass: true as const } : {}
  return [...kept, ...groups.map((group) => ({ person, group, gate, answer, reason: clean, at, ...glass }))]
}
