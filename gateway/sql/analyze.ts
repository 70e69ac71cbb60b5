import type { Node } from '@pgsql/types'
import type { Meaning } from '../core/operation.ts'
import type { Analysis, Statement } from './analyzer.ts'
import { readDelete, readInsert, readMerge, readUpdate } from './changes.ts'
import { type Effect, meaningOf } from './effect.ts'
import { readExpression } from './expressions.ts'
import { Facts, limits } from './facts.ts'
import { qualify } from './identifiers.ts'
import { readCall } from './functions.ts'
import type { Token } from './literals.ts'
import { LiteralWatch } from './literal-watch.ts'
import { isFields, takeInventory, unreadable } from './parse-tree.ts'
import { readQuery } from './queries.ts'
import type { Reader, Surroundings } from './reader.ts'
import { functionSchemas, readRelation } from './relations.ts'
import { readStatement } from './statements.ts'

/** A parsed text: its statements, and its tokens when asked (they cost another pass over the text). */
export interface Parsed {
  readonly text: string
  readonly statements: readonly Node[]
  tokens(): readonly Token[]
}

/**
 * Says what a parsed text does, and whether every text of its skeleton does the same (`formal`). `path` is the session's
 * search_path. Throws `Refused` `unparseable` when something in it is not understood: nothing is passed over.
 */
export function analyze(
  parsed: Parsed,
  around: Surroundings,
  path: readonly string[],
): { readonly analysis: Analysis; readonly formal: boolean } {
  const inventory = takeInventory(parsed.statements)
  const watch = new LiteralWatch(parsed.statements)
  const facts = new Facts()
  const reader = createReader(around, facts, path)
  const effects = parsed.statements.map((node) => readOne(parsed, reader, node))
  noteTypes(reader, inventory.types)
  for (const node of inventory.relations)
    if (!facts.seen.has(node)) throw unreadable('a relation in it was not accounted for')
  for (const node of inventory.calls)
    if (!facts.seen.has(node)) throw unreadable('a call in it was not accounted for')
  noteSecrets(parsed, facts)
  const meaning = meaningOf(
    parsed.text,
    facts,
    effects.map((effect) => effect.shape),
    () => parsed.tokens(),
  )
  const analysis = { meaning, statements: effects.map(statementOf) }
  // Spans that run to the end of the text, where there are too many of them, do not move with the literals.
  const formal = facts.secrets.size === 0 && facts.links.size <= limits.spans && watch.proves(parsed)
  return { analysis, formal }
}

function readOne(parsed: Parsed, reader: Reader, node: Node): Effect {
  reader.found.searchPath = null
  // What is named for later is read on its own, so that its meaning is its own.
  const fork = (inner: Node): { meaning: Meaning; effect: Effect } => {
    const facts = new Facts()
    const own = createReader(reader.around, facts, reader.path, reader.named)
    const effect = readStatement(own, inner, fork)
    noteTypes(own, takeInventory(inner).types)
    for (const seen of facts.seen) reader.facts.seen.add(seen)
    for (const literal of facts.secrets) reader.facts.secrets.add(literal)
    for (const [literal, columns] of facts.links) {
      if (literal >= 0) reader.facts.link({ columns, literals: new Set([literal]) })
    }
    return { meaning: { ...meaningOf(parsed.text, facts, [effect.shape], () => []), spans: [] }, effect }
  }
  const effect = readStatement(reader, node, fork)
  return { ...effect, searchPath: effect.searchPath ?? reader.found.searchPath }
}

/** A type whose values run a user's function when they are made is a call of it, wherever it is named. */
function noteTypes(reader: Reader, types: readonly (readonly string[])[]): void {
  for (const names of types) {
    const [name = '', schema] = names.toReversed()
    for (const found of functionSchemas(reader, name))
      if (schema === undefined || schema === found) reader.facts.operation(['call'], qualify(found, name))
  }
}

function createReader(
  around: Surroundings,
  facts: Facts,
  path: readonly string[],
  named: Map<string, Meaning> = new Map(),
): Reader {
  const reader: Reader = {
    facts,
    around,
    path,
    making: null,
    found: { searchPath: null, repathed: false },
    named,
    views: new Map(),
    query: (select, parent, ctes) => readQuery(reader, select, parent, ctes),
    statement: (node, parent, ctes) => {
      if ('SelectStmt' in node) return readQuery(reader, node.SelectStmt, parent, ctes)
      if ('InsertStmt' in node) return readInsert(reader, node.InsertStmt, parent, ctes)
      if ('UpdateStmt' in node) return readUpdate(reader, node.UpdateStmt, parent, ctes)
      if ('DeleteStmt' in node) return readDelete(reader, node.DeleteStmt, parent, ctes)
      if ('MergeStmt' in node) return readMerge(reader, node.MergeStmt, parent, ctes)
      throw unreadable(`a query is a ${Object.keys(node).join()}`)
    },
    expression: (node, scope, into, probe) => readExpression(reader, node, scope, into, probe),
    call: (call, scope, into, probe) => readCall(reader, call, scope, into, probe),
    relation: (name) => readRelation(reader, name),
  }
  return reader
}

function statementOf(effect: Effect): Statement {
  const { kind, searchPath, changesCatalog, names, forgets, copy } = effect
  return { kind, searchPath, changesCatalog, names, forgets, copy }
}

const holdsSecrets: ReadonlySet<string> = new Set([
  'CreateRoleStmt',
  'AlterRoleStmt',
  'CreateSubscriptionStmt',
  'AlterSubscriptionStmt',
  'CreateUserMappingStmt',
  'AlterUserMappingStmt',
  'CreateForeignServerStmt',
  'AlterForeignServerStmt',
  'CreateFdwStmt',
  'AlterFdwStmt',
  'AlterSystemStmt',
])

/** Statements whose strings are programs, which may hold such statements. */
const holdsPrograms: ReadonlySet<string> = new Set(['DoStmt', 'CreateFunctionStmt'])
const speaksOfSecrets = /password|user\s+mapping|dblink|connection|subscription/i

/**
 * Every string of a statement that may hold a password is secret, and every comment: the tree does not say where they
 * stand. A program is kept unless it speaks of such things.
 */
function noteSecrets(parsed: Parsed, facts: Facts): void {
  const within: { from: number; to: number; programs: boolean }[] = []
  for (const node of parsed.statements) {
    const [tag = ''] = Object.keys(node)
    const programs = holdsPrograms.has(tag)
    if (programs || holdsSecrets.has(tag)) within.push({ ...extentOf(node, parsed), programs })
  }
  if (within.length === 0) return
  const bytes = Buffer.from(parsed.text)
  for (const token of parsed.tokens()) {
    const first = bytes.toString('latin1', token.start, token.start + 2)
    if (!/^(['$]|[eEnN]'|[uU]&|\/\*|--)/.test(first)) continue
    const held = within.find(({ from, to }) => token.start >= from && token.start < to)
    if (held === undefined) continue
    if (held.programs && !speaksOfSecrets.test(bytes.toString('utf8', token.start, token.end))) continue
    facts.secrets.add(token.start)
  }
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

function extentOf(node: object, parsed: Parsed): { from: number; to: number } {
  return extents.get(node) ?? { from: 0, to: Buffer.byteLength(parsed.text) }
}

function asNode(value: object): Node {
  if (!isStatement(value)) throw unreadable('a statement of no kind')
  return value
}

function isStatement(value: object): value is Node {
  return Object.keys(value).length === 1
}
