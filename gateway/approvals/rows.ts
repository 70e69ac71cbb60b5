import { type Kysely, type RawBuilder, type Selectable, sql } from 'kysely'
import { z } from 'zod'
import type { ApprovalState, ApprovalView } from '../core/contract.ts'
import type { Origin } from '../core/identity.ts'
import type { Config } from '../policy/schema.ts'
import type { Tables } from '../store/schema.ts'
import type { Answer } from './approval.ts'
import type { PostingRow } from './posting-rows.ts'
import { groupOf, standing } from './quorum.ts'

export type Row = Selectable<Tables['approvals']>

/** Which approvals to list; the newest first. */
export interface ApprovalFilter {
  readonly states?: readonly ApprovalState[] | undefined
  /** Only those of this identity and of identities below it. */
  readonly within?: string | undefined
  /** Only those that one of these groups is asked. */
  readonly by?: readonly string[] | undefined
  /** Only those asked before this one, by its id. */
  readonly before?: string | undefined
  readonly limit: number
}

const answerSchema = z.array(
  z.object({
    person: z.string(),
    group: z.string(),
    gate: z.string(),
    answer: z.enum(['approve', 'deny']),
    reason: z.string(),
    at: z.number(),
    breakGlass: z.literal(true).optional(),
  }),
)
const operationsSchema = z.array(
  z.object({ action: z.string(), resource: z.string(), dry_run: z.boolean().optional() }),
)
const namesSchema = z.array(z.string())
const placeSchema = z.record(z.string(), z.record(z.string(), z.string()))

/** The answers given so far. */
export const answersOf = (row: Row): readonly Answer[] => answerSchema.parse(JSON.parse(row.answers))
/** The groups that have to agree. */
export const groupsAsked = (row: Row): readonly string[] => namesSchema.parse(JSON.parse(row.by))

/** SQL: the ids of an identity and all below it. */
export function selfAndBelow(identity: string): RawBuilder<string> {
  return sql<string>`(with recursive tree(id) as (
    select id from identities where id = ${identity}
    union select child.id from identities child join tree on child.parent = tree.id
  ) select id from tree)`
}

const originSchema = z.object({
  issuer: z.string(),
  platform: z.enum(['github', 'gitlab', 'jenkins', 'oidc']),
  claims: z.record(z.string(), z.string()),
  url: z.string().nullable(),
})

/** Where an identity's job came from, or null when the store does not know it. */
export async function originOf(db: Kysely<Tables>, identity: string): Promise<Origin | null> {
  const row = await db.selectFrom('identities').select('origin').where('id', '=', identity).executeTakeFirst()
  return row === undefined ? null : originSchema.parse(JSON.parse(row.origin))
}

/** The rows that a filter asks for. */
export async function selectRows(db: Kysely<Tables>, filter: ApprovalFilter): Promise<readonly Row[]> {
  let query = db.selectFrom('approvals').selectAll()
  if (filter.states !== undefined) query = query.where('state', 'in', filter.states)
  if (filter.within !== undefined) query = query.where('identity', 'in', selfAndBelow(filter.within))
  const { by } = filter
  if (by !== undefined) {
    // `by` is a JSON array of names, which have no letter that JSON or LIKE would read otherwise but `_`.
    query = query.where((is) =>
      is.or(
        by.map(
          (name) => sql<boolean>`approvals."by" like ${`%"${name.replaceAll('_', '\\_')}"%`} escape '\\'`,
        ),
      ),
    )
  }
  if (filter.before !== undefined) {
    const last = db.selectFrom('approvals').where('id', '=', filter.before)
    query = query.where((is) =>
      is.or([
        is('requested_at', '<', last.select('requested_at')),
        is.and([is('requested_at', '=', last.select('requested_at')), is('id', '<', filter.before ?? '')]),
      ]),
    )
  }
  return query.orderBy('requested_at', 'desc').orderBy('id', 'desc').limit(filter.limit).execute()
}

/** Rows as people and tools see them. */
export async function viewsOf(
  db: Kysely<Tables>,
  rows: readonly Row[],
  { url, config }: { readonly url: string; readonly config: Config },
): Promise<readonly ApprovalView[]> {
  const chains = await chainsOf(db, new Set(rows.map((row) => row.identity)))
  const postings = await postingsOf(
    db,
    rows.map(({ id }) => id),
  )
  return rows.map((row) => {
    const { levels = [], run = null } = chains.get(row.identity) ?? {}
    const answers = answersOf(row)
    return {
      id: row.id,
      state: row.state,
      connection: row.connection,
      identity:
        levels.map(({ id, stage }) => `${stage} (${id})`).join(' > ') || `${row.stage} (${row.identity})`,
      chain: [...levels],
      run,
      operations: operationsSchema.parse(JSON.parse(row.operations)),
      statement: row.statement,
      masks: namesSchema.parse(JSON.parse(row.masks)),
      digest: row.digest,
      requested_at: iso(row.requested_at),
      expires_at: iso(row.expires_at),
      by: [...groupsAsked(row)],
      groups: groupsOf(row, answers, config),
      rule: row.rule,
      policy: row.policy,
      reach: row.reach,
      url: linkOf(url, row.id),
      answers: answers.map(({ breakGlass, at, ...answer }) => ({
        ...answer,
        at: iso(at),
        break_glass: breakGlass === true,
      })),
      gates: postings.get(row.id)?.gates ?? [],
      alarms: postings.get(row.id)?.alarms ?? [],
    }
  })
}

/** Who may answer, and how many still have to. */
function groupsOf(row: Row, answers: readonly Answer[], config: Config): ApprovalView['groups'] {
  const by = groupsAsked(row)
  const verdict = standing(by, answers, config)
  return by.map((name) => {
    const group = groupOf(name, config)
    const missing =
      verdict.kind === 'open' ? verdict.missing.find((open) => open.group === name)?.people : undefined
    return {
      name,
      people: [...(group?.members ?? [])],
      required: group?.required ?? 0,
      missing: missing === undefined || !Number.isFinite(missing) ? 0 : missing,
      reason: group?.reason ?? 'optional',
      break_glass: group?.break_glass ?? null,
    }
  })
}

/** Where each is asked, and where its broken glass is told. */
async function postingsOf(
  db: Kysely<Tables>,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Pick<ApprovalView, 'gates' | 'alarms'>>> {
  const found = new Map<string, Pick<ApprovalView, 'gates' | 'alarms'>>()
  if (ids.length === 0) return found
  const rows = await db
    .selectFrom('postings')
    .selectAll()
    .where('approval', 'in', ids)
    .orderBy('delivery')
    .orderBy('place')
    .execute()
  for (const row of rows) {
    const shown = found.get(row.approval) ?? { gates: [], alarms: [] }
    if (row.glass === null) shown.gates.push(gateOf(row))
    else shown.alarms.push(alarmOf(row, row.glass))
    found.set(row.approval, shown)
  }
  return found
}

function gateOf({ gate, groups, handle, url, failure }: PostingRow): ApprovalView['gates'][number] {
  const state = failure !== null ? 'failed' : handle === null ? 'asking' : 'asked'
  return { gate, groups: namesSchema.parse(JSON.parse(groups)), state, url, failure }
}

function alarmOf({ gate, place, failure, done }: PostingRow, glass: string): ApprovalView['alarms'][number] {
  const { person } = z.object({ person: z.string() }).parse(JSON.parse(glass))
  const [settings = {}] = Object.values(placeSchema.parse(JSON.parse(place)))
  const open = failure === null ? 'telling' : 'failed'
  const state = done === 0 ? open : failure === null ? 'told' : 'untold'
  return { gate, to: Object.values(settings)[0] ?? null, person, state, failure }
}

/** The page of an approval; `url` is the gateway's. */
export function linkOf(url: string, id: string): string {
  return `${url.replace(/\/+$/, '')}/approvals/${id}`
}

/** The levels from the root down, and the page of the job, for each identity. */
async function chainsOf(
  db: Kysely<Tables>,
  wanted: ReadonlySet<string>,
): Promise<ReadonlyMap<string, { levels: { id: string; stage: string }[]; run: string | null }>> {
  const nodes = new Map<string, { stage: string; parent: string | null; origin: string }>()
  let next = [...wanted]
  while (next.length > 0) {
    const found = await db
      .selectFrom('identities')
      .select(['id', 'stage', 'parent', 'origin'])
      .where('id', 'in', next)
      .execute()
    for (const { id, ...node } of found) nodes.set(id, node)
    next = [...new Set(found.flatMap(({ parent }) => (parent === null || nodes.has(parent) ? [] : [parent])))]
  }
  const chains = new Map<string, { levels: { id: string; stage: string }[]; run: string | null }>()
  for (const id of wanted) {
    const levels: { id: string; stage: string }[] = []
    for (let at: string | null = id; at !== null; ) {
      const node = nodes.get(at)
      if (node === undefined) break
      levels.unshift({ id: at, stage: node.stage })
      at = node.parent
    }
    const origin = nodes.get(id)?.origin
    const run = origin === undefined ? null : originSchema.parse(JSON.parse(origin)).url
    if (levels.length > 0) chains.set(id, { levels, run })
  }
  return chains
}

function iso(time: number): string {
  return new Date(time).toISOString()
}
