import type { Node, RangeVar, SelectStmt } from '@pgsql/types'
import type { Meaning } from '../core/operation.ts'
import type { CatalogRelation, Made } from './analyzer.ts'
import type { Facts } from './facts.ts'
import type { MadeNames } from './made.ts'
import type { Ctes, Origin, Scope, Shape } from './origin.ts'

/** Collected while one statement is read. */
export interface Found {
  searchPath: readonly string[] | null
  /** True once a statement of the text changed the search_path. */
  repathed: boolean
  /** Whether the statement changes a setting, whichever, or makes something that will. */
  sets: 'now' | 'later' | null
  /** What it makes that no catalog shows yet. */
  makes: Made[]
}

/** What of the catalog and the session a text may need; answered without waiting. */
export interface Surroundings {
  relation(schema: string, name: string): CatalogRelation | null
  hasSchema(name: string): boolean
  relationSchemas(name: string): readonly string[]
  functionSchemas(name: string): readonly string[]
  functionReads(schema: string, name: string): readonly string[]
  named(kind: 'prepared' | 'cursor', name: string): Meaning | null
  /** The parse tree of a view's definition, or null when it cannot be had. */
  definition(text: string): readonly Node[] | null
  readonly user: string | null
}

/**
 * One reading of one text: what was found, what is known around it, and the readers of the kinds of syntax, which call
 * one another through here (a query holds expressions, which hold queries).
 */
export interface Reader {
  readonly facts: Facts
  /** Grows by what each statement of the text makes. */
  around: Surroundings
  made: MadeNames | null
  /** Schemas that an unqualified name may mean from here on. */
  path: readonly string[]
  /** The schema that CREATE SCHEMA makes along with what is in it. */
  making: string | null
  /** What the statement being read does to the session. */
  readonly found: Found
  /** Names that earlier statements of the same text made. */
  readonly named: Map<string, Meaning>
  /** Views being read, so that a cycle ends. */
  readonly views: Map<CatalogRelation, Shape | null>
  query(select: SelectStmt, parent: Scope | null, ctes: Ctes | null): Shape
  /** A SELECT, INSERT, UPDATE, DELETE or MERGE: the shape of what it returns, or null when it returns no rows. */
  statement(node: Node, parent: Scope | null, ctes: Ctes | null): Shape | null
  /** Adds to `into` where the expression's value comes from; with `probe`, its columns are used without being shown. */
  expression(node: Node | undefined, scope: Scope, into: Origin, probe: boolean): void
  call(node: FuncCallFields, scope: Scope, into: Origin, probe: boolean): void
  relation(name: RangeVar): Shape
}

export interface FuncCallFields {
  readonly funcname?: Node[]
  readonly args?: Node[]
  readonly agg_order?: Node[]
  readonly agg_filter?: Node
  readonly over?: object
  readonly agg_distinct?: boolean
  readonly func_variadic?: boolean
}
