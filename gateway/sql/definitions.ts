import type { Node } from '@pgsql/types'
import {
  adminAlters,
  adminKinds,
  definitions,
  globalKinds,
  type Group,
  ofRelationKinds,
  relationKinds,
} from './definition-kinds.ts'
import { noteMoves } from './moves.ts'
import { asRelation, isRelation, namesIn, relationsIn, resources } from './object-names.ts'
import { type Fields, isFields, open, textOf, unreadable } from './parse-tree.ts'
import type { Reader } from './reader.ts'
import { noteCall } from './functions.ts'
import { merge, mergeShape, type Origin, origin, type Source, source } from './origin.ts'
import { noteWrite, resolve, shapeOf } from './relations.ts'
import { readAnything } from './sweep.ts'

/** Tags that this file reads. */
export const definitionTags: ReadonlySet<string> = new Set([
  ...Object.keys(definitions),
  'CreateForeignTableStmt',
  'AlterTableStmt',
  'DropStmt',
  'RenameStmt',
  'AlterObjectSchemaStmt',
  'AlterObjectDependsStmt',
  'AlterOwnerStmt',
  'CommentStmt',
  'SecLabelStmt',
  'GrantStmt',
  'ReindexStmt',
  'VacuumStmt',
  'TruncateStmt',
])

/** Reads a statement that defines, changes or removes objects. */
export function readDefinition(reader: Reader, tag: string, fields: Fields): void {
  const row = Object.hasOwn(definitions, tag) ? definitions[tag] : undefined
  if (row !== undefined) {
    const [action, group, field, how] = row
    const specific = tag === 'DefineStmt' ? `create-${kindWord(fields['kind'])}` : action
    const admin = group === 'admin' || (tag === 'DefineStmt' && isRisky(fields))
    note(
      reader,
      specific,
      admin ? 'admin' : 'ddl',
      resources(reader, fields[field] ?? fields['authrole'], how),
    )
    if (tag === 'CreateFunctionStmt' || tag === 'AlterFunctionStmt') noteFunctionRisk(reader, tag, fields)
    // Parents and neighbours of a new table change with it.
    if (tag === 'CreateStmt') noteAltered(reader, fields['inhRelations'])
  } else {
    readSpecial(reader, tag, fields)
  }
  noteMoves(reader, tag, fields)
  if (tag === 'CreateTrigStmt') {
    const [name = '', schema = null] = namesIn(fields['funcname']).toReversed()
    noteCall(reader, schema, name, {})
  }
  const sources = sourcesOf(reader, tag, fields['relation'] ?? fields['table'])
  readAnything(reader, fields, { sources, parent: null, ctes: null })
  // What a definition compares or writes by itself (defaults, checks, bounds) stands in no expression with the column.
  const whole = origin()
  for (const { shape } of sources) mergeShape(whole, shape)
  if (tag === 'CommentStmt' || tag === 'SecLabelStmt')
    reader.facts.unplaced.set(fields, described(reader, fields))
  collectLiterals(fields, whole)
  reader.facts.link(whole)
}

/** The columns that a comment or label is about. */
function described(reader: Reader, fields: Fields): Origin {
  const kind = String(fields['objtype'])
  const names = namesIn(fields['object'])
  const own = origin()
  const ofPart = ofRelationKinds.has(kind)
  if (!ofPart && !relationKinds.has(kind)) return own
  const shape = shapeOf(reader, resolve(reader, asRelation(ofPart ? names.slice(0, -1) : names)))
  const named = kind === 'OBJECT_COLUMN' ? shape.columns.filter(({ name }) => name === names.at(-1)) : []
  for (const column of named) merge(own, column.origin)
  if (named.length === 0) mergeShape(own, shape)
  return own
}

/** What the expressions of a definition can name: its relation, and that relation's rows as rules and triggers see them. */
function sourcesOf(reader: Reader, tag: string, value: unknown): Source[] {
  const relation = isFields(value) ? (value['RangeVar'] ?? value) : undefined
  if (!isRelation(relation) || tag === 'CreateStmt' || tag === 'RenameStmt') return []
  const shape = shapeOf(reader, resolve(reader, relation))
  const rows = ['old', 'new'].map((name) => source(name, shape, { qualifiedOnly: true }))
  return [source(relation.relname ?? '', shape), ...rows]
}

function collectLiterals(value: unknown, into: Origin): void {
  if (Array.isArray(value)) for (const item of value) collectLiterals(item, into)
  if (!isFields(value)) return
  const literal = value['A_Const']
  if (isFields(literal) && typeof literal['location'] === 'number') into.literals.add(literal['location'])
  for (const field of Object.values(value)) collectLiterals(field, into)
}

function readSpecial(reader: Reader, tag: string, fields: Fields): void {
  const relation = fields['relation']
  switch (tag) {
    case 'CreateForeignTableStmt': {
      const base = fields['base']
      if (isFields(base))
        note(reader, 'create-foreign-table', 'ddl', resources(reader, base['relation'], 'new'))
      return
    }
    case 'AlterTableStmt': {
      note(reader, `alter-${kindWord(fields['objtype'])}`, 'ddl', resources(reader, relation, 'relation'))
      const commands = Array.isArray(fields['cmds']) ? fields['cmds'] : []
      for (const command of commands) {
        const inner = isFields(command) ? command['AlterTableCmd'] : undefined
        if (isFields(inner) && adminAlters.test(String(inner['subtype']))) {
          note(reader, 'alter-security', 'admin', resources(reader, relation, 'relation'))
        }
      }
      return noteAltered(reader, commands)
    }
    case 'TruncateStmt': {
      for (const name of relationsIn(fields['relations'])) {
        reader.facts.seen.add(name)
        for (const candidate of resolve(reader, name)) {
          reader.facts.relation(candidate.schema, candidate.name)
          noteWrite(reader, ['truncate', 'ddl'], candidate)
        }
      }
      return
    }
    case 'VacuumStmt': {
      const action = fields['is_vacuumcmd'] === true ? 'vacuum' : 'analyze'
      const names = relationsIn(fields['rels'])
      if (names.length === 0) note(reader, action, 'ddl', [''])
      for (const name of names) note(reader, action, 'ddl', resources(reader, name, 'relation'))
      return
    }
    case 'ReindexStmt': {
      const names =
        relation === undefined
          ? resources(reader, fields['name'], 'schema')
          : resources(reader, relation, 'relation')
      return note(reader, 'reindex', 'ddl', names)
    }
    case 'GrantStmt': {
      const how = fields['targtype'] === 'ACL_TARGET_ALL_IN_SCHEMA' ? 'schema' : howOf(fields['objtype'])
      const action = fields['is_grant'] === true ? 'grant' : 'revoke'
      const objects = Array.isArray(fields['objects']) ? fields['objects'] : [undefined]
      for (const object of objects) note(reader, action, 'admin', resources(reader, object, how))
      return
    }
    default:
      readObjectStatement(reader, tag, fields)
  }
}

/** DROP, RENAME, SET SCHEMA, OWNER, COMMENT, SECURITY LABEL: an object of any kind. */
function readObjectStatement(reader: Reader, tag: string, fields: Fields): void {
  const kind = String(
    fields['removeType'] ?? fields['renameType'] ?? fields['objectType'] ?? fields['objtype'],
  )
  const verb = { DropStmt: 'drop', CommentStmt: 'comment', SecLabelStmt: 'security-label' }[tag] ?? 'alter'
  const admin = adminKinds.has(kind) || tag === 'AlterOwnerStmt' || tag === 'SecLabelStmt'
  // RENAME of what has no schema (schemas, roles, databases) keeps the old name in `subname`.
  const object = fields['objects'] ?? fields['object'] ?? fields['subname']
  const objects: readonly unknown[] = Array.isArray(object) ? object : [object]
  const named = fields['relation'] === undefined ? objects : [fields['relation']]
  for (const each of named) {
    note(reader, `${verb}-${kindWord(kind)}`, admin ? 'admin' : 'ddl', objectResources(reader, kind, each))
  }
  const newSchema = fields['newschema']
  if (typeof newSchema === 'string') note(reader, 'create', 'ddl', resources(reader, newSchema, 'schema'))
}

function objectResources(reader: Reader, kind: string, object: unknown): readonly string[] {
  if (isRelation(object)) return resources(reader, object, 'relation')
  const names = namesIn(object)
  if (relationKinds.has(kind)) return resources(reader, asRelation(names), 'relation')
  if (ofRelationKinds.has(kind)) return resources(reader, asRelation(names.slice(0, -1)), 'relation')
  return resources(reader, object, howOf(kind))
}

function howOf(kind: unknown): 'relation' | 'named' | 'global' | 'schema' {
  if (kind === 'OBJECT_SCHEMA') return 'schema'
  if (relationKinds.has(String(kind))) return 'relation'
  return globalKinds.has(String(kind)) ? 'global' : 'named'
}

function note(reader: Reader, action: string, group: Group, targets: readonly string[]): void {
  const verb = action.split('-')[0] ?? action
  // `create`, `alter` and `drop` alone do not stretch to roles, extensions and the like.
  const actions: readonly [string, ...string[]] =
    group === 'admin' || verb === action ? [action, group] : [action, verb, group]
  for (const resource of targets) reader.facts.operation(actions, resource)
}

/** Relations named further inside (partitions, parents, referenced tables) are altered as well. */
function noteAltered(reader: Reader, value: unknown): void {
  for (const name of relationsIn(value))
    note(reader, 'alter-table', 'ddl', resources(reader, name, 'relation'))
}

function kindWord(kind: unknown): string {
  return String(kind)
    .replace(/^OBJECT_/, '')
    .toLowerCase()
    .replaceAll('_', '-')
}

/** A base type or operator is made of functions that run inside the server process. */
function isRisky(fields: Fields): boolean {
  return fields['kind'] === 'OBJECT_TYPE' && fields['definition'] !== undefined
}

const trusted: ReadonlySet<string> = new Set(['sql', 'plpgsql', 'plperl', 'pltcl', 'plv8'])

/** Functions in languages that can leave the database, or that run with their owner's rights, are `admin` too. */
function noteFunctionRisk(reader: Reader, tag: string, fields: Fields): void {
  const options: readonly Node[] = Array.isArray(fields['options'] ?? fields['actions'])
    ? listOf(fields['options'] ?? fields['actions'])
    : []
  for (const option of options) {
    if (!('DefElem' in option)) throw unreadable('an option of a function')
    const { defname, arg } = option.DefElem
    const language = defname === 'language' ? (textOf(arg) ?? '').toLowerCase() : null
    const definer = defname === 'security' && isFields(arg) && isTrue(arg)
    if ((language !== null && !trusted.has(language)) || definer) {
      const name = resources(reader, fields[tag === 'CreateFunctionStmt' ? 'funcname' : 'func'], 'named')
      note(reader, definer ? 'security-definer' : 'untrusted-function', 'admin', name)
    }
  }
}

function isTrue(arg: Fields): boolean {
  const value = arg['Boolean']
  return isFields(value) && value['boolval'] === true
}

function listOf(value: unknown): Node[] {
  return Array.isArray(value)
    ? value.filter((item): item is Node => isFields(item) && open(item) !== null)
    : []
}
