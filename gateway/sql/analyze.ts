import type { Node } from '@pgsql/types'
import type { Meaning } from '../core/operation.ts'
import type { Analysis, Statement } from './analyzer.ts'
import { readDelete, readInsert, readMerge, readUpdate } from './changes.ts'
import { type Effect, meaningOf } from './effect.ts'
import { readExpression } from './expressions.ts'
import { Facts, limits } from './facts.ts'
import { readCall } from './functions.ts'
import { MadeNames, withMade } from './made.ts'
import { noteHidden } from './hidden-strings.ts'
import { LiteralWatch } from './literal-watch.ts'
import { open, takeInventory, unreadable } from './parse-tree.ts'
import type { Parsed } from './parsed.ts'
import { readQuery } from './queries.ts'
import type { Reader, Surroundings } from './reader.ts'
import { noteType, readRelation } from './relations.ts'
import { addPath, usePath } from './settings.ts'
import { type Fork, readStatement } from './statements.ts'

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
  for (const names of inventory.types) noteType(reader, names)
  if (facts.makesRows) for (const rowType of facts.rowTypes.values()) noteType(reader, rowType)
  for (const node of inventory.relations)
    if (!facts.seen.has(node)) throw unreadable('a relation in it was not accounted for')
  for (const node of inventory.calls)
    if (!facts.seen.has(node)) throw unreadable('a call in it was not accounted for')
  noteHidden(reader, parsed, inventory.settings)
  const meaning = meaningOf(
    parsed.text,
    facts,
    effects.map((effect) => effect.shape),
    () => parsed.tokens(),
  )
  const analysis = {
    meaning: { ...meaning, results: shared(meaning.results, () => true) },
    statements: shared(effects.map(statementOf), ({ names, makes }) => names === null && makes === undefined),
  }
  // Spans that run to the end of the text, where there are too many of them, do not move with the literals.
  const formal = facts.secrets.size === 0 && facts.links.size <= limits.spans && watch.proves(parsed)
  return { analysis, formal }
}

function readOne(parsed: Parsed, reader: Reader, node: Node): Effect {
  reader.found.searchPath = null
  reader.found.makes = []
  reader.found.sets = null
  // What is named for later is read on its own, so that its meaning is its own.
  const fork: Fork = (inner, types) => {
    const facts = new Facts()
    const own = createReader(reader.around, facts, reader.path, reader.named)
    const effect = readStatement(own, inner, fork)
    // It does so whenever it is run, by a text that does not show it: from here on the path may be that.
    if (own.found.searchPath !== null) usePath(reader, own.found.searchPath)
    if (own.found.sets !== null) reader.found.sets = 'later'
    for (const names of takeInventory([inner, types]).types) noteType(own, names)
    if (facts.makesRows) for (const rowType of facts.rowTypes.values()) noteType(own, rowType)
    for (const seen of facts.seen) reader.facts.seen.add(seen)
    for (const literal of facts.secrets) reader.facts.secrets.add(literal)
    for (const [literal, columns] of facts.links) {
      if (literal >= 0) reader.facts.link({ columns, literals: new Set([literal]) })
    }
    return { meaning: { ...meaningOf(parsed.text, facts, [effect.shape], () => []), spans: [] }, effect }
  }
  reader.facts.runsCode = false
  const effect = readStatement(reader, node, fork)
  // A user's code can set the path for what follows.
  if (reader.facts.runsCode && runs(node)) reader.path = addPath(reader.path, ['*'])
  const { makes, sets } = reader.found
  const done = {
    ...effect,
    searchPath: effect.searchPath ?? reader.found.searchPath,
    ...(sets === null ? {} : { sets }),
    ...(isQuery(node) ? {} : { late: true as const }),
  }
  if (makes.length === 0) return done
  if (reader.made === null) {
    reader.made = new MadeNames(makes)
    reader.around = withMade(reader.around, reader.made)
  } else reader.made.add(makes)
  return { ...done, makes }
}

/** False for what only names the code that it is made of: such a definition runs none. */
function runs(node: Node): boolean {
  const { tag, fields } = open(node) ?? { tag: '', fields: {} }
  if (tag === 'CreateStmt') return fields['partbound'] !== undefined
  return !/^(Create|Define|Rule|View)/.test(tag) || tag === 'CreateTableAsStmt'
}

/** True for what is bound to the relations that its names mean. SELECT INTO makes one when it runs. */
function isQuery(node: Node): boolean {
  if ('SelectStmt' in node) {
    let first = node.SelectStmt
    while (first.larg !== undefined) first = first.larg
    return first.intoClause === undefined
  }
  return 'InsertStmt' in node || 'UpdateStmt' in node || 'DeleteStmt' in node || 'MergeStmt' in node
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
    made: null,
    path,
    making: null,
    found: { searchPath: null, repathed: false, sets: null, makes: [] },
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

/** The list with equal items as one object: of a text of very many statements few things leave the worker, then. */
function shared<T>(items: readonly T[], isPlain: (item: T) => boolean): readonly T[] {
  if (items.length < 2) return items
  const known = new Map<string, T>()
  return items.map((item) => {
    if (!isPlain(item)) return item
    const key = JSON.stringify(item)
    const same = known.get(key)
    if (same === undefined) known.set(key, item)
    return same ?? item
  })
}

function statementOf(effect: Effect): Statement {
  const { shape: _, ...statement } = effect
  return statement
}
