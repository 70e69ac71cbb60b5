import type { Operation } from '../core/operation.ts'
import type { JsonPath } from './json-path.ts'
import type { ConnectionConfig, GrantConfig } from './schema.ts'

/** One level of a delegation chain, for one connection: a stage's grant, narrowed by what the identity was given. */
export interface Level {
  readonly stage: string
  readonly grant: GrantConfig | null
  /** Operations the identity was narrowed to, or null for all. */
  readonly narrowed: readonly string[] | null
  /** True when it only looks on: what it would refuse is told beside the decision. */
  readonly observed: boolean
}

/** One stage of a chain, and what an identity of it was narrowed to. */
export interface ChainLevel {
  readonly stage: string
  readonly narrowed: readonly string[] | null
  readonly observed?: boolean
}

/** A stricter decision of levels that only look on. */
export interface Refusal {
  readonly effect: 'approve' | 'deny'
  readonly rule: string | null
  readonly why: string
}

/** The answer of policy to a request: the strictest over its operations and over the levels of the chain. */
export type Decision =
  | { readonly effect: 'allow'; readonly rule: string; readonly observed?: Observed }
  /** `by`: the approver groups, all of which must agree, without repetition. */
  | {
      readonly effect: 'approve'
      readonly rule: string
      readonly by: readonly string[]
      readonly operation: Operation
      readonly observed?: Observed
    }
  | {
      readonly effect: 'deny'
      readonly rule: string | null
      readonly operation: Operation
      readonly why: string
      readonly next: string
    }

/** What levels that only look on would have decided, where that is stricter, and of which operation. */
export interface Observed extends Refusal {
  readonly what: string
}

/** What masks a column shows under, resolved for one chain and one connection. */
export interface Mask {
  readonly name: string
  readonly with: 'partial' | 'redact' | 'hash' | 'empty'
}

/** A mask of the values that a path of JSON leads to. */
export interface FieldMask {
  readonly mask: Mask
  readonly path: JsonPath
}

/** The masks in force for one chain on one connection. */
export interface ColumnMasks {
  /** The mask of a column, or null. `schema.relation.*` gives the strictest mask of any column of the relation. */
  of(column: string): Mask | null
  /** True when a mask of the column, or one that a wildcard may mean, has a result refused whose origin cannot be proved. */
  refusesUnproven(column: string): boolean
  /** True when some mask may concern a column of this relation, `schema.relation`. */
  touches(relation: string): boolean
  /** What is masked in JSON, the strictest first. */
  readonly fields: readonly FieldMask[]
}

/** A compiled hoop.yaml: immutable; a change of policy is another Policy with another version. */
export interface Policy {
  /** Changes whenever anything that decides changes: SHA-256 of the canonical configuration without secrets, hex. */
  readonly version: string
  connection(name: string): ConnectionConfig | null
  /** The levels of a chain (root first: stage names with what each was narrowed to), for a connection. */
  levels(chain: readonly ChainLevel[], connection: string): readonly Level[]
  /** Why a chain of stages (root first) may not be, or null: one of them does not hand on the next. Levels that only look on hand on nothing: what is below them comes from above. */
  breach(chain: readonly ChainLevel[]): string | null
  decide(levels: readonly Level[], operations: readonly Operation[]): Decision
  /** True when rules look into the body of such a request, which its operations do not have yet. */
  looksIntoBody(levels: readonly Level[], operations: readonly Operation[]): boolean
  masks(levels: readonly Level[], connection: string): ColumnMasks
  /** All that a grant of these levels for a connection rests on, hashed: target, accounts, rules, masks, detectors. Equal under two policies, they decide and mask alike. */
  terms(levels: readonly Level[], connection: string): string
}
