import type { Kysely, Selectable } from 'kysely'
import type { Config } from '../policy/schema.ts'
import type { Tables } from '../store/schema.ts'
import type { Glass } from './approval.ts'
import type { GateEntry } from './gates/gate.ts'

export type PostingRow = Selectable<Tables['postings']>

/** An entry of `gates:` and the groups that have it. */
export interface Place {
  readonly key: string
  readonly entry: GateEntry
  readonly name: string
  readonly groups: string[]
}

/** The gateway's own record: a place like the others, so that it is told of broken glass as surely as they are. */
const ledger: Place = { key: '{"ledger":{}}', entry: { ledger: {} }, name: 'ledger', groups: [] }

/** Where a question of these groups is put up. */
export function questionRows(approval: string, by: readonly string[], config: Config): readonly PostingRow[] {
  return placesOf(by, config).map((place) => rowOf(place, { delivery: approval, approval, glass: null }))
}

/** Where somebody's breaking the glass is told: the gateway's own record first, then every entry of those gates in hoop.yaml that can be told. */
export function alarmRows(
  approval: string,
  glass: Glass,
  { config, tells }: { readonly config: Config; readonly tells: (gate: string) => boolean },
): readonly PostingRow[] {
  const about = {
    delivery: `${approval}.glass.${glass.person}.${glass.at}`,
    approval,
    glass: JSON.stringify(glass),
  }
  return [ledger, ...placesOf(Object.keys(config.approvers), config)]
    .filter(({ name }) => tells(name))
    .map((place) => rowOf(place, about))
}

/** Keeps what has to be told, in the transaction of what it tells of; what is kept already stays as it is. */
export async function keepRows(db: Kysely<Tables>, rows: readonly PostingRow[]): Promise<void> {
  if (rows.length === 0) return
  await db
    .insertInto('postings')
    .values([...rows])
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

function rowOf(
  { key: place, name: gate, groups }: Place,
  about: Pick<PostingRow, 'delivery' | 'approval' | 'glass'>,
): PostingRow {
  return {
    ...about,
    place,
    gate,
    groups: JSON.stringify(groups),
    handle: null,
    url: null,
    failure: null,
    tried_at: null,
    done: 0,
  }
}

/** The distinct entries of groups, each with the groups that have it. */
function placesOf(by: readonly string[], config: Config): readonly Place[] {
  const places = new Map<string, Place>()
  for (const group of by) {
    for (const entry of (Object.hasOwn(config.approvers, group) ? config.approvers[group] : undefined)
      ?.gates ?? []) {
      const [name = ''] = Object.keys(entry)
      const key = JSON.stringify(entry)
      const place = places.get(key) ?? { key, entry, name, groups: [] }
      if (!place.groups.includes(group)) place.groups.push(group)
      places.set(key, place)
    }
  }
  return [...places.values()]
}
