import type { RangeVar } from '@pgsql/types'
import type { Made } from './analyzer.ts'
import { relationKinds } from './definition-kinds.ts'
import { asRelation, isRelation, namesIn, relationsIn } from './object-names.ts'
import { merge, mergeShape, origin } from './origin.ts'
import { type Fields, isFields } from './parse-tree.ts'
import type { Reader } from './reader.ts'
import { creationSchemas, resolve, shapeOf } from './relations.ts'

/** Kinds of object that can be meant by what looks like a call or an operator, or that run one. */
const callable = /^OBJECT_(AGGREGATE|DOMAIN|FUNCTION|OPERATOR|PROCEDURE|ROUTINE|TYPE)$/

/**
 * What a definition does to values and names that stay: a column or relation that gets another name leaves the rules and
 * masks that are written for it, and a constraint or an order compares what is there. And what it makes that later texts
 * can mean before a catalog shows it.
 */
export function noteMoves(reader: Reader, tag: string, fields: Fields): void {
  const { relation } = fields
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
      if (fields['unique'] === true && isRelation(relation))
        probeRelation(reader, relation, elementsOf(fields['indexParams']))
      return
    }
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
  if (kind === 'OBJECT_SCHEMA') {
    noteMade(reader, 'function', name, '*')
    noteMade(reader, 'view', name, '*')
    return probeAll(reader)
  }
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
  if (callable.test(kind)) noteMade(reader, 'function', schema, namesIn(fields['object']).at(-1) ?? '*')
  if (!relationKinds.has(kind)) return
  const moved = isRelation(relation) ? relation : asRelation(namesIn(fields['object']))
  noteMade(reader, 'view', schema, moved.relname ?? '')
  probeRelation(reader, moved)
}

/** Rows that leave a family leave its masks; constraints compare. */
function noteAlters(reader: Reader, relation: RangeVar, commands: unknown): void {
  for (const command of Array.isArray(commands) ? commands : []) {
    const inner: unknown = isFields(command) ? command['AlterTableCmd'] : undefined
    if (!isFields(inner)) continue
    if (inner['subtype'] === 'AT_DropInherit') probeRelation(reader, relation)
    if (String(inner['subtype']).startsWith('AT_DetachPartition'))
      for (const partition of relationsIn(inner['def'])) probeRelation(reader, partition)
  }
  noteConstraints(reader, commands, relation)
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
    const referred = namesIn(constraint['pk_attrs'])
    const target = constraint['pktable']
    if (isRelation(target) && referred.length > 0) probeRelation(reader, target, referred)
  }
  for (const field of Object.values(value)) noteConstraints(reader, field, relation)
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
