import type { Column, Operation } from '../core/operation.ts'
import { type Literal, type Origin, origin } from './origin.ts'
import { qualify } from './identifiers.ts'

/** PostgreSQL's own limits and ours: what exceeds them is refused, for it would be refused there too or is an attack. */
export const limits = {
  columns: 1664,
  operations: 10_000,
  spans: 2_000,
  depth: 20_000,
  sources: 2_000,
  paths: 200,
} as const

/** What has been found in a text so far. */
export class Facts {
  readonly operations = new Map<string, Operation>()
  readonly relations = new Set<string>()
  readonly probes = new Set<Column>()
  /** All columns that stand in the text, whatever for, and those that a `*` in it means. */
  used: Origin = origin()
  /** What users' functions in the text may return: a plan shows what it knows of that beforehand. */
  returned: Origin = origin()
  readonly links = new Map<Literal, Set<Column>>()
  readonly secrets = new Set<Literal>()
  /** Literals within a program that is itself a literal: where each ends, for no token of the text does. */
  readonly ends = new Map<Literal, number>()
  /** What the strings of a statement meet whose tree does not say where they stand, by the statement's fields. */
  readonly unplaced = new Map<object, Origin>()
  /** Nodes that were read: at the end, a relation or call that was not is a refusal. */
  readonly seen = new Set<object>()
  /** True when a function makes a row of the type of what it is given, which may be that of any relation read. */
  makesRows = false
  /** The names of the relations read, which are those of their rows' types. */
  readonly rowTypes = new Map<string, readonly [schema: string, name: string]>()
  /** True when a user's code is called, or PostgreSQL's own that runs a text. */
  runsCode = false
  #muted = 0

  operation(
    actions: readonly [string, ...string[]],
    resource: string,
    more: { reads?: boolean; unbounded?: boolean } = {},
  ): void {
    if (this.#muted > 0) return
    this.runsCode ||= /^(call|do)$/.test(actions[0]) && !/^pg_catalog\.(pg|lo)_/.test(resource)
    const reads = more.reads ?? false
    const unbounded = more.unbounded ?? false
    const key = `${actions.join(' ')}\n${resource}\n${unbounded}`
    if (this.operations.has(key)) return
    this.operations.set(key, { actions, resource, reads, ...(unbounded ? { unbounded } : {}) })
  }

  relation(schema: string, name: string): void {
    const resource = qualify(schema, name)
    this.relations.add(resource)
    this.rowTypes.set(resource, [schema, name])
  }

  use(origin: Origin): void {
    if (this.#muted > 0) return
    for (const column of origin.columns) this.used.columns.add(column)
  }

  probe(origin: Origin): void {
    if (this.#muted > 0) return
    for (const column of origin.columns) this.probes.add(column)
  }

  /** Notes that the literals of this value meet its columns, in a condition or by being written. */
  link(origin: Origin, more: Iterable<Column> = []): void {
    if (this.#muted > 0) return
    const columns = new Set([...origin.columns, ...more])
    if (columns.size === 0) return
    for (const literal of origin.literals) {
      const known = this.links.get(literal)
      if (known === undefined) this.links.set(literal, new Set(columns))
      else for (const column of columns) known.add(column)
    }
  }

  /** Reads something that is not part of the statement (a view's definition): only where columns come from counts. */
  muted<T>(read: () => T): T {
    this.#muted += 1
    try {
      return read()
    } finally {
      this.#muted -= 1
    }
  }
}
