import type { Node } from '@pgsql/types'
import type { Token } from './literals.ts'
import { isFields, unreadable } from './parse-tree.ts'

/** A parsed text: its statements, and its tokens when asked (they cost another pass over the text). */
export interface Parsed {
  readonly text: string
  readonly statements: readonly Node[]
  tokens(): readonly Token[]
}

const extents = new WeakMap<object, { from: number; to: number }>()

/** Remembers where a statement stands in its text (RawStmt's stmt_location and stmt_len, in bytes; length 0 is to the end). */
export function placeStatement(raw: unknown, length: number): Node {
  if (!isFields(raw) || !isFields(raw['stmt'])) throw unreadable('a text without statements')
  const from = typeof raw['stmt_location'] === 'number' ? raw['stmt_location'] : 0
  const size = typeof raw['stmt_len'] === 'number' ? raw['stmt_len'] : 0
  extents.set(raw['stmt'], { from, to: size === 0 ? length : from + size })
  return asNode(raw['stmt'])
}

/** Where a statement stands in its text: UTF-8 byte offsets. */
export function extentOf(node: object, parsed: Parsed): { from: number; to: number } {
  return extents.get(node) ?? { from: 0, to: Buffer.byteLength(parsed.text) }
}

function asNode(value: object): Node {
  if (!isStatement(value)) throw unreadable('a statement of no kind')
  return value
}

function isStatement(value: object): value is Node {
  return Object.keys(value).length === 1
}
