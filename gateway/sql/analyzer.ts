import type { Meaning } from '../core/operation.ts'

/** One relation of the database: table, partitioned table, foreign table, view, materialized view. */
export interface CatalogRelation {
  readonly schema: string
  readonly name: string
  readonly kind: 'table' | 'view' | 'matview' | 'foreign' | 'sequence'
  readonly columns: readonly {
    readonly name: string
    /** As `format_type` writes it; of a domain what it is made of, `record` of a composite type, `range` of ranges. */
    readonly type: string
    readonly attnum: number
    /** Generated columns: names of the columns of the same relation that it is made of. */
    readonly from?: readonly string[]
  }[]
  /** Views: columns of other relations that it reads, `schema.relation.column` or `schema.relation.*`, views already resolved to what lies below. */
  readonly reads: readonly string[]
  /** Users' functions that run unasked when values are put into its columns, or met with them: of casts that no text names. */
  readonly casts?: { readonly written: readonly string[]; readonly read: readonly string[] }
  /** The columns of its primary key; absent where it has none. */
  readonly key?: readonly string[]
  /** Tables that share rows with it by inheritance or partitioning, `schema.relation`. */
  readonly family?: readonly string[]
  /** Views: the query as `pg_get_viewdef` writes it with every name qualified, from which the origin of each column is read. */
  readonly definition?: string
}

/** What the gateway knows of one database; immutable, replaced after DDL. */
export interface Catalog {
  /** Grows by one with each refresh: part of every cache key. */
  readonly version: number
  relation(schema: string, name: string): CatalogRelation | null
  /** The relation with this OID: what RowDescription names. */
  byOid(oid: number): CatalogRelation | null
  hasSchema(name: string): boolean
  /** Schemas that have a relation of this name: what an unqualified name may mean when the path is unknown (`*`). */
  relationSchemas(name: string): readonly string[]
  /**
   * Functions of this name that are not of pg_catalog or information_schema: schemas that have one.
   * The name may also be an operator's (`===`) that is not made in C, or that of a type whose values run a user's function
   * when they are made (a domain with such a check).
   */
  functionSchemas(name: string): readonly string[]
  /** The columns that what such a function or operator returns may come from beside its arguments; `*.*.*` for any. */
  functionReads(schema: string, name: string): readonly string[]
  /** The type with this OID as `schema.name`, if its values run a user's function when they are made; else null. */
  callingType(oid: number): string | null
}

/** What of the session decides what a text means. */
export interface SqlContext {
  readonly catalog: Catalog
  /**
   * Every schema that an unqualified name may mean in this session, most likely first; `pg_catalog` is always looked in.
   * `*` among them: any schema may be meant. An empty name parts the paths that may be in force, the latest first. `$user` stands for the schema named as `user`.
   */
  readonly searchPath: readonly string[]
  /** The role the session runs as upstream: what `$user` in a search_path stands for. */
  readonly user?: string
  /** Whose request it is, by reference: no caller can fill the queue of the others. */
  readonly caller?: object
  /** The job that the request is of: those that ask little come before those whose texts take long. */
  readonly job?: string
  readonly standardConformingStrings: boolean
  /** What `EXECUTE name` (SQL-level PREPARE) or `FETCH name` stands for; null when the session has none of that name. */
  named(kind: 'prepared' | 'cursor', name: string): Meaning | null
}

/** One statement of a text, as far as the protocol must know it. */
export interface Statement {
  /** What answers it: rows, COPY data in either direction, or neither. */
  readonly kind: 'rows' | 'copy-in' | 'copy-out' | 'other'
  /** The schemas that it puts on the search path (SET search_path), or null; `['*']` when it cannot be told. */
  readonly searchPath: readonly string[] | null
  /** Whether it changes a setting of the session, even a harmless one, or makes a prepared statement or cursor that will; absent for no. */
  readonly sets?: 'now' | 'later'
  /** True when the catalog must be read again once it is done. */
  readonly changesCatalog: boolean
  /** What it names for later statements of the session, with what that stands for. */
  readonly names: {
    readonly kind: 'prepared' | 'cursor'
    readonly name: string
    readonly meaning: Meaning
  } | null
  /** DISCARD, DEALLOCATE, CLOSE: names that are gone; null is all. */
  readonly forgets: { readonly kind: 'prepared' | 'cursor'; readonly name: string | null } | null
  /** The form of what COPY … TO STDOUT gives; null for other statements, and where it cannot be told. */
  readonly copy: CopyForm | null
  /** Present where the server looks names up when it runs, not when it is bound to a portal: all commands but queries. */
  readonly late?: true
  /** What it makes that decides what later texts mean, before any catalog shows it; absent for nothing. */
  readonly makes?: readonly Made[]
}

/** A function, operator or view that was made or renamed: `*` where it may have any name, or any schema. */
export interface Made {
  readonly kind: 'function' | 'view'
  readonly schema: string
  readonly name: string
}

/** How the values in COPY data are told apart. `delimiter`, `quote` and `escape` are one ASCII character each. */
export interface CopyForm {
  readonly format: 'text' | 'csv' | 'binary'
  readonly delimiter: string
  readonly quote: string
  readonly escape: string
  /** What stands for NULL, unquoted. */
  readonly empty: string
  /** The first line holds names. */
  readonly header: boolean
  /** Whether each is of a text type; null for columns that are computed, or whose table is not known. */
  readonly columns: readonly boolean[] | null
}

export interface Analysis {
  readonly meaning: Meaning
  readonly statements: readonly Statement[]
}

/** Says what SQL does, by PostgreSQL's own parser in a guarded worker. */
export interface Analyzer {
  /**
   * Synchronous when the text is known under the same context, so the hot path stays free of promises.
   * Throws or rejects with `Refused`: `unparseable` (with the parser's message, and where), `too_large`
   * (over 1 MiB of text, or too deep), `timed_out` (over 2 s), `overloaded`.
   */
  analyze(text: string, context: SqlContext): Analysis | Promise<Analysis>
  close(): Promise<void>
}
