import type { Code } from '../core/errors.ts'
import type { Meaning } from '../core/operation.ts'
import type { Analysis, CatalogRelation } from './analyzer.ts'

// What the gateway's thread and a parser worker say to each other. The worker has no catalog of its own: it asks for
// what a text names, remembers the answers as long as the catalog lives, and reads the text again with them.

export type Question =
  | { readonly kind: 'relation'; readonly schema: string; readonly name: string }
  | { readonly kind: 'relation-schemas'; readonly name: string }
  | { readonly kind: 'function-schemas'; readonly name: string }
  | { readonly kind: 'function-reads'; readonly schema: string; readonly name: string }
  | { readonly kind: 'schema'; readonly name: string }
  | { readonly kind: 'prepared' | 'cursor'; readonly name: string }

export type Answer = CatalogRelation | readonly string[] | boolean | Meaning | null

export type ToWorker =
  /** `catalog` numbers the catalog object, so that answers are never used for another. */
  | {
      readonly kind: 'read'
      readonly text: string
      readonly path: readonly string[]
      readonly user: string | null
      readonly catalog: number
    }
  /** In the order of the questions. */
  | { readonly kind: 'answers'; readonly answers: readonly Answer[] }

export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'ask'; readonly questions: readonly Question[] }
  /** `lasting` is false when named statements of the session decided; `formal` true when no value of a literal did. */
  | {
      readonly kind: 'done'
      readonly analysis: Analysis
      readonly lasting: boolean
      readonly formal: boolean
    }
  /** `broken`: the worker may not be used again. */
  | {
      readonly kind: 'refused'
      readonly code: Code
      readonly why: string
      readonly next: string
      /** Of the text, from 1. */
      readonly at?: number | undefined
      readonly broken: boolean
    }

/** One key per question. */
export function keyOf(question: Question): string {
  return 'schema' in question
    ? `${question.kind} ${question.schema}\0${question.name}`
    : `${question.kind} ${question.name}`
}
