import type { RangeVar } from '@pgsql/types'
import type { Made } from './analyzer.ts'
import { relationKinds } from './definition-kinds.ts'
import { asRelation, isRelation, namesIn, relationsIn } from './object-names.ts'
import { merge, mergeShape, origin } from './origin.ts'
import { type Fields, isFields } from './parse-tree.ts'
import type { Reader } from './reader.ts'
import { creationSchemas, resolve, shapeOf } from './relations.ts'
import { noteNewType } from './text-types.ts'

/** Kinds of object that can be meant by what looks like a call or an operator, or that run one. */
const callable = /^OBJECT_(AGGREGATE|DOMAIN|FUNCTION|OPERATOR|PROCEDURE|ROUTINE|TYPE)$/

/**
 * What a definition does to values and names that stay: a column or relation that gets another name leaves the rules and
 * masks that are written for it, and a constraint or an order compares what is there. And what it makes that later texts
 * can mean before a catalog shows it.
 */
export function noteMoves(reader: Reader, tag: string, fields: Fields): void {
  const { relation } = fields
  const makes = typeMakers[tag]
  if (makes !== undefined) for (const name of typesIn(fields[makes])) noteNewType(reader, name)
  switch (tag) {
    case 'CreateFunctionStmt':
      return noteMadeNamed(reader, fields['funcname'])
    case 'DefineStmt':
      return noteMadeNamed(reader, fields['defnames'])
    case 'RenameStmt':
      return noteRename(reader, fields)
    case 'AlterObjectSchemaStmt':
      return noteNewSchema(reader, fields)
    case 'ClusterStmt':
      return isRelation(relation) ? probeRelation(reader, relation) : probeAll(reader)
    case 'IndexStmt': {
      // One that keeps an order is read in place of the table, in that order, where that is cheaper.
      const ordered = !/^(hash|brin)$/.test(String(fields['accessMethod']))
      if (ordered && isRelation(relation)) probeRelation(reader, relation, elementsOf(fields['indexParams']))
      return
    }
    case 'AlterDomainStmt':
      // What is added (C), looked at (V) or said of NULL (O) is compared with every column of its type.
      return /^[CVO]$/.test(String(fields['subtype'])) ? probeAll(reader) : undefined
    case 'CreateCastStmt':
      // It may be tried where no text asks for it, and fail by what it is given.
      return probeAll(reader)
    case 'CreateForeignTableStmt':
    case 'ImportForeignSchemaStmt':
    case 'AlterForeignServerStmt':
      // They may stand for any table of this database, under names that no mask has.
      return probeAll(reader)
    case 'CreatePublicationStmt':
    case 'AlterPublicationStmt': {
      // What is published leaves as it is.
      for (const each of relationsIn(fields['pubobjects'])) probeRelation(reader, each)
      if (fields['for_all_tables'] === true || publishesSchemas(fields['pubobjects'])) probeAll(reader)
      return
    }
    case 'CreateStmt':
      return noteConstraints(reader, fields['tableElts'], null)
    case 'AlterTableStmt':
      return isRelation(relation) ? noteAlters(reader, relation, fields['cmds']) : undefined
  }
}

/** Statements that make a type, with the field that has its name; a range has another type beside it. */
const typeMakers: Readonly<Record<string, string>> = {
  CreateStmt: 'relation',
  CreateForeignTableStmt: 'base',
  CreateSeqStmt: 'sequence',
  CompositeTypeStmt: 'typevar',
  CreateDomainStmt: 'domainname',
  CreateEnumStmt: 'typeName',
  CreateRangeStmt: 'params',
  DefineStmt: 'defnames',
}

/** The last parts of the names below a value. */
function typesIn(value: unknown): string[] {
  const relations = relationsIn(value)
  return relations.length > 0 ? relations.map(({ relname }) => relname ?? '') : namesIn(value)
}

/** Notes something that is made, where it may be found from here on. */
export function noteMade(reader: Reader, kind: Made['kind'], schema: string | undefined, name: string): void {
  for (const place of schema === undefined ? creationSchemas(reader) : [schema])
    reader.found.makes.push({ kind, schema: place, name })
}

function noteMadeNamed(reader: Reader, written: unknown): void {
  const [name = '', schema] = namesIn(written).toReversed()
  noteMade(reader, 'function', schema, name)
}

function noteRename(reader: Reader, fields: Fields): void {
  const { relation } = fields
  const kind = String(fields['renameType'])
  const name = String(fields['newname'])
  if (kind !== 'OBJECT_COLUMN') noteNewType(reader, name)
  if (kind === 'OBJECT_SCHEMA') {
    noteMade(reader, 'function', name, '*')
    noteMade(reader, 'view', name, '*')
    return probeAll(reader)
  }
  // A column of a foreign table that says no other stands for the one of its own name.
  if (isRelation(relation) && isForeign(reader, relation)) probeAll(reader)
  if (kind === 'OBJECT_COLUMN' && isRelation(relation))
    return probeRelation(reader, relation, [String(fields['subname'])])
  if (relationKinds.has(kind) && kind !== 'OBJECT_INDEX' && isRelation(relation)) {
    // ALTER TABLE renames views, too.
    noteMade(reader, 'view', relation.schemaname ?? '*', name)
    return probeRelation(reader, relation)
  }
  // Which schema of the path the old name was found in is not known here.
  if (callable.test(kind)) noteMade(reader, 'function', namesIn(fields['object']).at(-2) ?? '*', name)
}

function noteNewSchema(reader: Reader, fields: Fields): void {
  const { relation } = fields
  const kind = String(fields['objectType'])
  const schema = String(fields['newschema'])
  for (const name of typesIn(relation ?? fields['object'])) noteNewType(reader, name)
  if (callable.test(kind)) noteMade(reader, 'function', schema, namesIn(fields['object']).at(-1) ?? '*')
  if (!relationKinds.has(kind)) return
  const moved = isRelation(relation) ? relation : asRelation(namesIn(fields['object']))
  noteMade(reader, 'view', schema, moved.relname ?? '')
  probeRelation(reader, moved)
}

/** Rows that leave a family leave its masks, and those that join one are its own before any catalog shows it; constraints compare. */
function noteAlters(reader: Reader, relation: RangeVar, commands: unknown): void {
  for (const command of Array.isArray(commands) ? commands : []) {
    const inner: unknown = isFields(command) ? command['AlterTableCmd'] : undefined
    if (!isFields(inner)) continue
    const subtype = String(inner['subtype'])
    if (subtype === 'AT_SetNotNull' || (subtype === 'AT_AlterColumnType' && !takesAnyText(inner['def'])))
      probeRelation(reader, relation, [String(inner['name'])])
    // Where a foreign table's rows come from, and from which column there.
    if (subtype.endsWith('GenericOptions') || (subtype === 'AT_AddColumn' && isForeign(reader, relation)))
      probeAll(reader)
    if (/^AT_(Add|Drop)Inherit$/.test(subtype)) probeRelation(reader, relation)
    if (/^AT_(Attach|Detach)Partition/.test(subtype))
      for (const partition of relationsIn(inner['def'])) probeRelation(reader, partition)
  }
  noteConstraints(reader, commands, relation)
}

/** Whether a column is given a type to which no value is too long, and none fails to be cast. */
function takesAnyText(definition: unknown): boolean {
  const column: unknown = isFields(definition) ? definition['ColumnDef'] : undefined
  const type: unknown = isFields(column) ? column['typeName'] : undefined
  if (!isFields(type) || type['typmods'] !== undefined || type['arrayBounds'] !== undefined) return false
  const names = namesIn(type)
  return /^(text|varchar)$/.test(names.at(-1) ?? '') && (names.length === 1 || names.at(-2) === 'pg_catalog')
}

/** UNIQUE, EXCLUDE and FOREIGN KEY fail by what is there: on the relation itself, unless it is made, and on what it refers to. */
function noteConstraints(reader: Reader, value: unknown, relation: RangeVar | null): void {
  if (Array.isArray(value)) for (const item of value) noteConstraints(reader, item, relation)
  if (!isFields(value)) return
  const constraint = value['Constraint']
  if (isFields(constraint)) {
    const own = [...namesIn(constraint['keys']), ...namesIn(constraint['fk_attrs'])]
    const compared = [...own, ...elementsOf(constraint['exclusions'])]
    if (relation !== null && compared.length > 0) probeRelation(reader, relation, compared)
    const target = constraint['pktable']
    if (isRelation(target)) probeReferred(reader, target, namesIn(constraint['pk_attrs']))
  }
  for (const field of Object.values(value)) noteConstraints(reader, field, relation)
}

/** A foreign key that names no columns refers to the primary key. */
function probeReferred(reader: Reader, target: RangeVar, named: readonly string[]): void {
  if (named.length > 0) return probeRelation(reader, target, named)
  const keys = resolve(reader, target).map(({ known }) => known?.key)
  // Of a table that no catalog shows, or as an older one showed it, any column may be it.
  const certain = keys.flatMap((key) => key ?? [])
  probeRelation(reader, target, keys.includes(undefined) || certain.length === 0 ? null : certain)
}

/** The columns that elements of an index or exclusion name. */
function elementsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(elementsOf)
  if (!isFields(value)) return []
  const element = value['IndexElem']
  if (isFields(element)) return typeof element['name'] === 'string' ? [element['name']] : []
  return Object.values(value).flatMap(elementsOf)
}

/** Whether something is published that is no table by its name. */
function publishesSchemas(objects: unknown): boolean {
  const listed: readonly unknown[] = Array.isArray(objects) ? objects : []
  return listed.some((item) => {
    const object = isFields(item) ? item['PublicationObjSpec'] : undefined
    return !isFields(object) || object['pubtable'] === undefined
  })
}

function isForeign(reader: Reader, relation: RangeVar): boolean {
  return resolve(reader, relation).some(({ known }) => known?.kind === 'foreign')
}

function probeAll(reader: Reader): void {
  reader.facts.probe(origin(['*.*.*']))
}

/** The columns named of a relation, or all, are used where they would leak. */
function probeRelation(reader: Reader, relation: RangeVar, names: readonly string[] | null = null): void {
  const shape = shapeOf(reader, resolve(reader, relation))
  const own = origin()
  if (names === null) mergeShape(own, shape)
  for (const name of names ?? []) {
    const known = shape.columns.filter((column) => column.name === name)
    for (const column of known) merge(own, column.origin)
    if (known.length === 0) mergeShape(own, shape)
  }
  reader.facts.probe(own)
}
