import type { Node, RangeVar } from '@pgsql/types'
import { qualify } from './identifiers.ts'
import { type Fields, isFields, open, textOf, unreadable } from './parse-tree.ts'
import type { Reader } from './reader.ts'
import { noteCall } from './functions.ts'
import { mergeShape, type Origin, origin, type Source, source } from './origin.ts'
import { creationSchemas, noteWrite, resolve, shapeOf } from './relations.ts'
import { readAnything } from './sweep.ts'

type Group = 'ddl' | 'admin'

/**
 * Statements that define things: the action, its group, the field with the name of what it is done to, and how that
 * name is read: `new` is made in the first schema of the path, `relation` is looked up, `named` is an object of a
 * schema, `global` has no schema, `schema` is a schema (its resource is `name.*`: all that is in it).
 */
const definitions: Readonly<
  Record<
    string,
    readonly [
      action: string,
      group: Group,
      field: string,
      name: 'new' | 'relation' | 'named' | 'global' | 'schema',
    ]
  >
> = {
  CreateStmt: ['create-table', 'ddl', 'relation', 'new'],
  CreateSeqStmt: ['create-sequence', 'ddl', 'sequence', 'new'],
  AlterSeqStmt: ['alter-sequence', 'ddl', 'sequence', 'relation'],
  IndexStmt: ['create-index', 'ddl', 'relation', 'relation'],
  CreateSchemaStmt: ['create-schema', 'ddl', 'schemaname', 'schema'],
  CreateFunctionStmt: ['create-function', 'ddl', 'funcname', 'named'],
  AlterFunctionStmt: ['alter-function', 'ddl', 'func', 'named'],
  CreateTrigStmt: ['create-trigger', 'ddl', 'relation', 'relation'],
  RuleStmt: ['create-rule', 'ddl', 'relation', 'relation'],
  CreateDomainStmt: ['create-domain', 'ddl', 'domainname', 'named'],
  AlterDomainStmt: ['alter-domain', 'ddl', 'typeName', 'named'],
  CreateEnumStmt: ['create-type', 'ddl', 'typeName', 'named'],
  AlterEnumStmt: ['alter-type', 'ddl', 'typeName', 'named'],
  CreateRangeStmt: ['create-type', 'ddl', 'typeName', 'named'],
  CompositeTypeStmt: ['create-type', 'ddl', 'typevar', 'new'],
  AlterTypeStmt: ['alter-type', 'ddl', 'typeName', 'named'],
  DefineStmt: ['create', 'ddl', 'defnames', 'named'],
  CreateStatsStmt: ['create-statistics', 'ddl', 'defnames', 'named'],
  AlterStatsStmt: ['alter-statistics', 'ddl', 'defnames', 'named'],
  CreateConversionStmt: ['create-conversion', 'ddl', 'conversion_name', 'named'],
  CreateOpClassStmt: ['create-operator-class', 'ddl', 'opclassname', 'named'],
  CreateOpFamilyStmt: ['create-operator-family', 'ddl', 'opfamilyname', 'named'],
  AlterOpFamilyStmt: ['alter-operator-family', 'ddl', 'opfamilyname', 'named'],
  AlterOperatorStmt: ['alter-operator', 'ddl', 'opername', 'named'],
  AlterTSDictionaryStmt: ['alter-text-search-dictionary', 'ddl', 'dictname', 'named'],
  AlterTSConfigurationStmt: ['alter-text-search-configuration', 'ddl', 'cfgname', 'named'],
  AlterCollationStmt: ['alter-collation', 'ddl', 'collname', 'named'],
  CreateCastStmt: ['create-cast', 'admin', 'sourcetype', 'named'],
  CreateTransformStmt: ['create-transform', 'admin', 'type_name', 'named'],
  CreatePolicyStmt: ['create-policy', 'admin', 'table', 'relation'],
  AlterPolicyStmt: ['alter-policy', 'admin', 'table', 'relation'],
  CreateEventTrigStmt: ['create-event-trigger', 'admin', 'trigname', 'global'],
  AlterEventTrigStmt: ['alter-event-trigger', 'admin', 'trigname', 'global'],
  CreatePLangStmt: ['create-language', 'admin', 'plname', 'global'],
  CreateAmStmt: ['create-access-method', 'admin', 'amname', 'global'],
  CreateRoleStmt: ['create-role', 'admin', 'role', 'global'],
  AlterRoleStmt: ['alter-role', 'admin', 'role', 'global'],
  AlterRoleSetStmt: ['alter-role', 'admin', 'role', 'global'],
  DropRoleStmt: ['drop-role', 'admin', 'roles', 'global'],
  CreatedbStmt: ['create-database', 'admin', 'dbname', 'global'],
  AlterDatabaseStmt: ['alter-database', 'admin', 'dbname', 'global'],
  AlterDatabaseRefreshCollStmt: ['alter-database', 'admin', 'dbname', 'global'],
  AlterDatabaseSetStmt: ['alter-database', 'admin', 'dbname', 'global'],
  DropdbStmt: ['drop-database', 'admin', 'dbname', 'global'],
  CreateTableSpaceStmt: ['create-tablespace', 'admin', 'tablespacename', 'global'],
  DropTableSpaceStmt: ['drop-tablespace', 'admin', 'tablespacename', 'global'],
  AlterTableSpaceOptionsStmt: ['alter-tablespace', 'admin', 'tablespacename', 'global'],
  AlterTableMoveAllStmt: ['alter-tablespace', 'admin', 'orig_tablespacename', 'global'],
  CreateExtensionStmt: ['create-extension', 'admin', 'extname', 'global'],
  AlterExtensionStmt: ['alter-extension', 'admin', 'extname', 'global'],
  AlterExtensionContentsStmt: ['alter-extension', 'admin', 'extname', 'global'],
  CreateFdwStmt: ['create-foreign-data-wrapper', 'admin', 'fdwname', 'global'],
  AlterFdwStmt: ['alter-foreign-data-wrapper', 'admin', 'fdwname', 'global'],
  CreateForeignServerStmt: ['create-server', 'admin', 'servername', 'global'],
  AlterForeignServerStmt: ['alter-server', 'admin', 'servername', 'global'],
  CreateUserMappingStmt: ['create-user-mapping', 'admin', 'servername', 'global'],
  AlterUserMappingStmt: ['alter-user-mapping', 'admin', 'servername', 'global'],
  DropUserMappingStmt: ['drop-user-mapping', 'admin', 'servername', 'global'],
  ImportForeignSchemaStmt: ['import-foreign-schema', 'admin', 'local_schema', 'schema'],
  CreatePublicationStmt: ['create-publication', 'admin', 'pubname', 'global'],
  AlterPublicationStmt: ['alter-publication', 'admin', 'pubname', 'global'],
  CreateSubscriptionStmt: ['create-subscription', 'admin', 'subname', 'global'],
  AlterSubscriptionStmt: ['alter-subscription', 'admin', 'subname', 'global'],
  DropSubscriptionStmt: ['drop-subscription', 'admin', 'subname', 'global'],
  AlterSystemStmt: ['alter-system', 'admin', '', 'global'],
  DropOwnedStmt: ['drop-owned', 'admin', 'roles', 'global'],
  ReassignOwnedStmt: ['reassign-owned', 'admin', 'roles', 'global'],
  GrantRoleStmt: ['grant-role', 'admin', 'granted_roles', 'global'],
  AlterDefaultPrivilegesStmt: ['alter-default-privileges', 'admin', '', 'global'],
  LoadStmt: ['load', 'admin', '', 'global'],
  CheckPointStmt: ['checkpoint', 'admin', '', 'global'],
  ClusterStmt: ['cluster', 'ddl', 'relation', 'relation'],
  RefreshMatViewStmt: ['refresh', 'ddl', 'relation', 'relation'],
}

/** Kinds of object that stand outside a schema, or decide who may do what: theirs is the group `admin`. */
const adminKinds: ReadonlySet<string> = new Set(
  `ACCESS_METHOD CAST DATABASE DEFACL EVENT_TRIGGER EXTENSION FDW FOREIGN_SERVER LANGUAGE LARGEOBJECT PARAMETER_ACL POLICY
  PUBLICATION ROLE SUBSCRIPTION TABLESPACE TRANSFORM USER_MAPPING`
    .split(/\s+/)
    .map((kind) => `OBJECT_${kind}`),
)
const globalKinds: ReadonlySet<string> = new Set(
  [...adminKinds].filter((kind) => !/CAST|POLICY|TRANSFORM/.test(kind)),
)
const relationKinds: ReadonlySet<string> = new Set(
  ['TABLE', 'VIEW', 'MATVIEW', 'FOREIGN_TABLE', 'SEQUENCE', 'INDEX'].map((kind) => `OBJECT_${kind}`),
)
/** Named as `relation.name`: done to the relation. */
const ofRelationKinds: ReadonlySet<string> = new Set(
  ['TRIGGER', 'RULE', 'POLICY', 'TABCONSTRAINT', 'COLUMN'].map((kind) => `OBJECT_${kind}`),
)

/** Kinds of ALTER TABLE that decide who may do what or whether rules hold, and so are `admin` too. */
const adminAlters =
  /^AT_(ChangeOwner|(En|Dis)able(RowSecurity|Trig|Rule|Always|Replica)\w*|(No)?Force\w*|DisableTrig\w*)$/

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
  if (tag === 'CreateTrigStmt') {
    const [name = '', schema = null] = namesIn(fields['funcname']).toReversed()
    noteCall(reader, schema, name, {})
  }
  const sources = sourcesOf(reader, tag, fields['relation'] ?? fields['table'])
  readAnything(reader, fields, { sources, parent: null, ctes: null })
  // What a definition compares or writes by itself (defaults, checks, bounds) stands in no expression with the column.
  const whole = origin()
  for (const { shape } of sources) mergeShape(whole, shape)
  collectLiterals(fields, whole)
  reader.facts.link(whole)
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

function resources(
  reader: Reader,
  value: unknown,
  how: 'new' | 'relation' | 'named' | 'global' | 'schema',
): readonly string[] {
  const wrapped = isFields(value) ? value['RangeVar'] : undefined
  if (isRelation(wrapped)) return resources(reader, wrapped, how)
  if (isRelation(value)) {
    reader.facts.seen.add(value)
    if (how === 'new') return creationNames(reader, value)
    return resolve(reader, value).map((candidate) => {
      reader.facts.relation(candidate.schema, candidate.name)
      return qualify(candidate.schema, candidate.name)
    })
  }
  const names = namesIn(value)
  if (how === 'schema') return names.length === 0 ? [''] : names.map((name) => `${qualify(name)}.*`)
  if (how === 'global') return names.length === 0 ? [''] : names.map((name) => qualify(name))
  if (names.length === 0) return ['']
  return names.length > 1
    ? [qualify(...names)]
    : creationSchemas(reader).map((schema) => qualify(schema, ...names))
}

/** The names that a new relation may get. */
export function creationNames(reader: Reader, relation: RangeVar): readonly string[] {
  const schemas =
    relation.relpersistence === 't' ? ['pg_temp'] : [relation.schemaname ?? creationSchemas(reader)].flat()
  return schemas.map((schema) => qualify(schema, relation.relname ?? ''))
}

function isRelation(value: unknown): value is RangeVar {
  return isFields(value) && typeof value['relname'] === 'string'
}

function asRelation(names: readonly string[]): RangeVar {
  const [name, schema] = names.toReversed()
  return { relname: name ?? '', ...(schema === undefined ? {} : { schemaname: schema }) }
}

/** All relations named below a value. */
function relationsIn(value: unknown): RangeVar[] {
  if (Array.isArray(value)) return value.flatMap(relationsIn)
  if (isRelation(value)) return [value]
  return isFields(value) ? Object.values(value).flatMap(relationsIn) : []
}

/** The parts of a name in whatever form the grammar keeps it. */
function namesIn(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (Array.isArray(value)) return value.flatMap(namesIn)
  if (!isFields(value)) return []
  if (typeof value['sval'] === 'string') return [value['sval']]
  if ('objname' in value) return namesIn(value['objname'])
  if ('names' in value) return namesIn(value['names'])
  if ('items' in value) return namesIn(value['items'])
  if ('rolename' in value) return namesIn(value['rolename'])
  if ('priv_name' in value) return namesIn(value['priv_name'])
  const schema = value['schemaname']
  if (typeof value['relname'] === 'string') {
    return typeof schema === 'string' ? [schema, value['relname']] : [value['relname']]
  }
  const node = open(value)
  return node === null ? [] : namesIn(node.fields)
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
