import type { Node, SelectStmt, VariableSetStmt } from '@pgsql/types'
import type { Meaning } from '../core/operation.ts'
import { readCopy } from './copy.ts'
import { definitionTags, readDefinition } from './definitions.ts'
import { type Effect, effect, plainColumns, rows, shapeOfResult } from './effect.ts'
import { readExplain } from './explain.ts'
import { qualify } from './identifiers.ts'
import { origin, rename, type Shape } from './origin.ts'
import { eachChild, open, textOf, textsOf, unreadable } from './parse-tree.ts'
import { creationNames } from './object-names.ts'
import { noteMade } from './moves.ts'
import { adopt, readExecute, readNaming, recall } from './named.ts'
import { noteInto } from './queries.ts'
import type { Reader } from './reader.ts'
import { noteRead, noteWrite, resolve } from './relations.ts'
import { noteSetting, noteShown, pathOf, usePath } from './settings.ts'

/** Reads what is named for later on its own; `types` are those of its parameters. */
export type Fork = (node: Node, types?: readonly Node[]) => { meaning: Meaning; effect: Effect }

/** Reads one statement of a text: notes what it does, and gives what it shows and changes in the session. */
export function readStatement(reader: Reader, node: Node, fork: Fork): Effect {
  const again = (inner: Node): Effect => readStatement(reader, inner, fork)
  if ('SelectStmt' in node) return readSelect(reader, node.SelectStmt)
  if ('InsertStmt' in node || 'UpdateStmt' in node || 'DeleteStmt' in node || 'MergeStmt' in node) {
    return rows(reader.statement(node, null, null))
  }
  if ('CopyStmt' in node) return readCopy(reader, node.CopyStmt)
  if ('TransactionStmt' in node) {
    const { kind } = node.TransactionStmt
    if (
      kind === 'TRANS_STMT_PREPARE' ||
      kind === 'TRANS_STMT_COMMIT_PREPARED' ||
      kind === 'TRANS_STMT_ROLLBACK_PREPARED'
    ) {
      reader.facts.operation(['two-phase-commit', 'admin'], '')
    }
    return effect()
  }
  if ('VariableSetStmt' in node) return readSet(reader, node.VariableSetStmt)
  if ('VariableShowStmt' in node) {
    const { name = '' } = node.VariableShowStmt
    noteShown(reader, name)
    return rows(plainColumns(name === 'all' ? 3 : 1))
  }
  if ('ExplainStmt' in node) {
    const { query, options } = node.ExplainStmt
    if (query === undefined) throw unreadable('EXPLAIN of nothing')
    return readExplain(reader, query, options, again)
  }
  if ('PrepareStmt' in node) {
    const { name, query, argtypes } = node.PrepareStmt
    if (query === undefined) throw unreadable('PREPARE of nothing')
    return readNaming(reader, 'prepared', name, fork(query, argtypes).meaning)
  }
  if ('ExecuteStmt' in node) return readExecute(reader, node.ExecuteStmt.name ?? '', node.ExecuteStmt.params)
  if ('DeclareCursorStmt' in node) {
    const { portalname, query } = node.DeclareCursorStmt
    if (query === undefined) throw unreadable('a cursor over nothing')
    const inner = fork(query)
    return readNaming(reader, 'cursor', portalname, inner.meaning)
  }
  if ('FetchStmt' in node) {
    const meaning = recall(reader, 'cursor', node.FetchStmt.portalname ?? '')
    adopt(reader, meaning)
    return node.FetchStmt.ismove === true
      ? effect()
      : rows(shapeOfResult(meaning.results[0]) ?? plainColumns(0))
  }
  if ('ClosePortalStmt' in node)
    return effect({ forgets: { kind: 'cursor', name: node.ClosePortalStmt.portalname ?? null } })
  if ('DeallocateStmt' in node)
    return effect({ forgets: { kind: 'prepared', name: node.DeallocateStmt.name ?? null } })
  if ('DiscardStmt' in node) {
    if (node.DiscardStmt.target !== 'DISCARD_ALL') return effect()
    return effect({ forgets: { kind: 'prepared', name: null }, searchPath: usePath(reader, []) })
  }
  if ('ListenStmt' in node) {
    reader.facts.operation(['listen', 'read'], qualify(node.ListenStmt.conditionname ?? ''), { reads: true })
    return effect()
  }
  if ('NotifyStmt' in node) {
    reader.facts.operation(['notify', 'write'], qualify(node.NotifyStmt.conditionname ?? ''))
    return effect()
  }
  if ('UnlistenStmt' in node || 'ConstraintsSetStmt' in node) {
    // SET CONSTRAINTS names constraints as relations; it changes only when they are checked.
    if ('ConstraintsSetStmt' in node) {
      for (const item of node.ConstraintsSetStmt.constraints ?? [])
        if ('RangeVar' in item) reader.facts.seen.add(item.RangeVar)
    }
    return effect()
  }
  if ('LockStmt' in node) return readLock(reader, node.LockStmt.relations, node.LockStmt.mode)
  if ('CallStmt' in node) {
    const { funccall } = node.CallStmt
    if (funccall === undefined) throw unreadable('CALL of nothing')
    const own = origin()
    reader.call(funccall, { sources: [], parent: null, ctes: null }, own, true)
    reader.facts.link(own)
    // OUT parameters come back as a row.
    return rows({ columns: [], rest: own, exact: 0 }, { changesCatalog: true })
  }
  if ('DoStmt' in node) {
    let language = 'plpgsql'
    for (const item of node.DoStmt.args ?? []) {
      if ('DefElem' in item && item.DefElem.defname === 'language')
        language = textOf(item.DefElem.arg) ?? language
    }
    reader.facts.operation(['do', 'admin'], qualify(language))
    return effect({ changesCatalog: true })
  }
  if ('ViewStmt' in node) {
    const { view, query, aliases } = node.ViewStmt
    if (view === undefined || query === undefined) throw unreadable('a view of nothing')
    reader.facts.seen.add(view)
    noteMade(reader, 'view', view.schemaname, view.relname ?? '')
    noteInto(
      reader,
      creationNames(reader, view),
      'view',
      rename(returned(reader.statement(query, null, null)), textsOf(aliases)),
    )
    return effect({ changesCatalog: true })
  }
  if ('CreateTableAsStmt' in node) {
    const { into, query, objtype } = node.CreateTableAsStmt
    if (into?.rel === undefined || query === undefined) throw unreadable('a table of nothing')
    reader.facts.seen.add(into.rel)
    const inner = again(query)
    const kind = objtype === 'OBJECT_MATVIEW' ? 'materialized-view' : 'table'
    noteInto(reader, creationNames(reader, into.rel), kind, returned(inner.shape))
    return effect({ changesCatalog: true })
  }
  const { tag, fields } = open(node) ?? { tag: 'statement without a tag', fields: {} }
  if (!definitionTags.has(tag)) throw unreadable(`it has a ${tag}`)
  if (tag === 'CreateSchemaStmt') {
    // What is made along with a schema is made in it, and found there first.
    const { path } = reader
    const name = fields['schemaname']
    reader.making = typeof name === 'string' ? name : '*'
    reader.path = [reader.making, ...path]
    eachChild(fields['schemaElts'], again)
    reader.making = null
    reader.path = path
  }
  readDefinition(reader, tag, fields)
  return effect({
    changesCatalog: tag !== 'VacuumStmt' && tag !== 'CheckPointStmt' && tag !== 'TruncateStmt',
  })
}

function returned(shape: Shape | null): Shape {
  if (shape === null) throw unreadable('a relation made of what returns nothing')
  return shape
}

function readSelect(reader: Reader, select: SelectStmt): Effect {
  const shape = reader.query(select, null, null)
  let first = select
  while (first.larg !== undefined) first = first.larg
  const into = first.intoClause?.rel
  if (into === undefined) return rows(shape)
  reader.facts.seen.add(into)
  noteInto(reader, creationNames(reader, into), 'table', shape)
  return effect({ changesCatalog: true })
}

function readSet(reader: Reader, set: VariableSetStmt): Effect {
  reader.found.sets = 'now'
  const name = set.name?.toLowerCase() ?? ''
  switch (set.kind ?? 'VAR_SET_CURRENT') {
    case 'VAR_SET_MULTI': {
      // SET TRANSACTION, SET SESSION CHARACTERISTICS, SET TRANSACTION SNAPSHOT: how the transaction is isolated, nothing more.
      if (!/^(transaction|session characteristics|transaction snapshot)$/.test(name)) throw unreadable('SET')
      return effect()
    }
    case 'VAR_RESET_ALL':
      return effect({ searchPath: usePath(reader, []) })
    case 'VAR_RESET':
    case 'VAR_SET_DEFAULT': {
      if (name === 'search_path') return effect({ searchPath: usePath(reader, []) })
      // The default is what the session started with, which the gateway chose where it matters.
      if (name === 'client_encoding' || name === 'standard_conforming_strings') return effect()
      // A role goes back to that of the session's start.
      return effect({
        searchPath: noteSetting(reader, name, /^(role|session_authorization)$/.test(name) ? 'none' : null),
      })
    }
    case 'VAR_SET_VALUE': {
      const values = (set.args ?? []).map(valueOf)
      if (name === 'search_path') return effect({ searchPath: usePath(reader, pathOf(values)) })
      return effect({
        searchPath: noteSetting(reader, name, values.includes(null) ? null : values.join(', ')),
      })
    }
    case 'VAR_SET_CURRENT':
      // SET … FROM CURRENT exists only inside CREATE FUNCTION.
      reader.facts.operation(['set', 'admin'], qualify(name))
      return effect()
  }
}

/** The text of a value in SET: strings, numbers, and words such as `on`. */
function valueOf(node: Node): string | null {
  const text = textOf(node)
  if (text !== null) return text
  if ('A_Const' in node) {
    if ('ival' in node.A_Const) return String(node.A_Const.ival?.ival ?? 0)
    if ('fval' in node.A_Const) return node.A_Const.fval?.fval ?? null
    if ('boolval' in node.A_Const) return node.A_Const.boolval?.boolval === true ? 'true' : 'false'
  }
  // SET TIME ZONE INTERVAL '1' HOUR
  return 'TypeCast' in node && node.TypeCast.arg !== undefined ? valueOf(node.TypeCast.arg) : null
}

function readLock(reader: Reader, relations: readonly Node[] | undefined, mode: number | undefined): Effect {
  for (const node of relations ?? []) {
    if (!('RangeVar' in node)) throw unreadable('LOCK')
    reader.facts.seen.add(node.RangeVar)
    for (const candidate of resolve(reader, node.RangeVar)) {
      reader.facts.relation(candidate.schema, candidate.name)
      // ACCESS SHARE (1, lockdefs.h) is what any SELECT takes.
      if (mode === 1) noteRead(reader, candidate.schema, candidate.name)
      else noteWrite(reader, ['lock', 'write'], candidate)
    }
  }
  return effect()
}
