import {
  dangerousExtension,
  effects,
  harmless,
  revealing,
  sequenceFunctions,
  showing,
  showingFirst,
  showingValues,
  takesCredentials,
  volatileHarmless,
} from './builtin-functions.ts'
import { noteFitting } from './fitting.ts'
import { qualify, splitIdentifiers } from './identifiers.ts'
import { merge, origin, type Origin, type Scope, sourcesNamed } from './origin.ts'
import { eachChild, textOf, textsOf, unreadable } from './parse-tree.ts'
import type { FuncCallFields, Reader } from './reader.ts'
import { firstSchema, functionSchemas, listsSettings, noteType, relationOf, resolve } from './relations.ts'
import { secretSetting } from './session-settings.ts'
import { noteSetting, noteShown } from './settings.ts'

/** Reads a call: its operation, if it has one, and where its value comes from. */
export function readCall(
  reader: Reader,
  call: FuncCallFields,
  scope: Scope,
  into: Origin,
  probe: boolean,
): void {
  reader.facts.seen.add(call)
  const names = textsOf(call.funcname)
  const name = names.at(-1)
  if (name === undefined) throw unreadable('a function without a name')
  const schema = names.at(-2) ?? null
  const shows = noteCall(reader, schema, name, call)
  if (name === 'current_setting' && !takesListed(call, scope))
    noteShown(reader, textOf(unwrapCast(call.args?.[0])))
  const own = origin()
  const distinct = call.agg_distinct === true
  call.args?.forEach((argument, index) => {
    reader.expression(argument, scope, own, probe || distinct || !shows(index))
  })
  noteFitting(reader, name, own)
  for (const order of call.agg_order ?? []) reader.expression(order, scope, own, true)
  if (call.agg_filter !== undefined) reader.expression(call.agg_filter, scope, own, true)
  // Windows order and group by their columns, which shows in the value only as a position.
  if (call.over !== undefined)
    eachChild(call.over, (child) => reader.expression(child, scope, origin(), true))
  if (takesCredentials.test(name) || (name === 'set_config' && setsSecret(call)))
    for (const literal of own.literals) reader.facts.secrets.add(literal)
  merge(into, own)
  noteReturned(reader, schema, name, into, probe)
  // A text that they run can move any column elsewhere.
  if (runsText.test(name) || mayRunText(reader, schema, name, call)) reader.facts.probe(origin(anyColumn))
}

/** A user's function that runs a text (or may: its source does not tell) can be given one that tells by how many rows there are. */
function mayRunText(reader: Reader, schema: string | null, name: string, call: FuncCallFields): boolean {
  if ((call.args ?? []).length === 0) return false
  const having = reader.around.functionSchemas(name)
  return (schema === null ? functionSchemas(reader, name) : [schema]).some(
    (each) => having.includes(each) && reader.around.functionReads(each, name).includes('*.*.*'),
  )
}

const runsText =
  /^(query_to_xml.*|ts_stat|ts_rewrite|dblink.*|crosstab.*|connectby|xpath_table|pg_background_.*)$/

/** Adds where what a call returns may come from beside its arguments, as `readExpression` does; `schema` is null where the name was written alone. */
export function noteReturned(
  reader: Reader,
  schema: string | null,
  name: string,
  into: Origin,
  probe: boolean,
): void {
  const columns = returned(reader, schema, name)
  if (probe) reader.facts.probe(origin(columns))
  for (const column of columns) {
    into.columns.add(column)
    reader.facts.returned.columns.add(column)
    reader.facts.relations.add(relationOf(column))
  }
}

const anyColumn: readonly string[] = ['*.*.*']

function returned(reader: Reader, schema: string | null, name: string): readonly string[] {
  if (schema === 'information_schema') return []
  if (revealing.test(name) || dangerousExtension.test(name)) return anyColumn
  if (schema === 'pg_catalog') return []
  const found = schema === null ? functionSchemas(reader, name) : [schema]
  const known = reader.around.functionSchemas(name)
  if (found.length === 0) {
    const isOwn = harmless.has(name) || volatileHarmless.has(name) || isBuiltIn(name) || isLikelyBuiltIn(name)
    return isOwn ? [] : anyColumn
  }
  // One that no catalog shows may return anything.
  return found.flatMap((each) => (known.includes(each) ? reader.around.functionReads(each, name) : anyColumn))
}

/** `current_setting(s.name) FROM pg_settings s`, as psql asks. */
function takesListed(call: FuncCallFields, scope: Scope): boolean {
  const [argument] = call.args ?? []
  if (argument === undefined || !('ColumnRef' in argument)) return false
  const names = textsOf(argument.ColumnRef.fields)
  const sources = names.length > 1 ? sourcesNamed(names.slice(0, -1), scope) : scope.sources
  return (
    names.at(-1) === 'name' && sources.length > 0 && sources.every(({ shape }) => listsSettings.has(shape))
  )
}

function setsSecret(call: FuncCallFields): boolean {
  const name = textOf(unwrapCast(call.args?.[0]))
  return name === null || secretSetting.test(name)
}

/** Which arguments of a call, by index, may come out masked without telling anything else. */
type Shows = (index: number) => boolean
const none: Shows = () => false

/** Notes the operation of a call; gives which of its arguments show. */
export function noteCall(reader: Reader, schema: string | null, name: string, call: FuncCallFields): Shows {
  const { facts } = reader
  // JDBC and ORMs read index columns by information_schema._pg_expandarray.
  if (schema === 'information_schema' && name.startsWith('_pg_')) return none
  if (schema !== null && schema !== 'pg_catalog') {
    facts.operation(dangerousExtension.test(name) ? ['call', 'admin'] : ['call'], qualify(schema, name))
    return none
  }
  // An overload in a user's schema wins when its argument types fit better, even behind pg_catalog (10.3).
  const overloads = schema === null ? functionSchemas(reader, name) : []
  for (const found of overloads) {
    facts.operation(dangerousExtension.test(name) ? ['call', 'admin'] : ['call'], qualify(found, name))
  }
  if (makesValues.test(name)) noteMadeValues(reader, name, call)
  if (harmless.has(name) || volatileHarmless.has(name)) return overloads.length > 0 ? none : shown(name, call)
  if (isBuiltIn(name)) {
    noteEffect(reader, name, call)
  } else if (overloads.length === 0) {
    const where = schema ?? (isLikelyBuiltIn(name) ? 'pg_catalog' : firstSchema(reader))
    facts.operation(
      dangerousExtension.test(name) || where === 'pg_catalog' ? ['call', 'admin'] : ['call'],
      qualify(where, name),
    )
  }
  return none
}

/** These make a value of a type that they are given by name, or in which they are given a value. */
const makesValues = /^(pg_input_(is_valid|error_info)|jsonb?_populate_record(set|_valid)?)$/

function noteMadeValues(reader: Reader, name: string, call: FuncCallFields): void {
  if (!name.startsWith('pg_input')) {
    reader.facts.makesRows = true
    return
  }
  const written = textOf(unwrapCast(call.args?.[1])) ?? ''
  // `character varying(3)[]`: what has more words than one is PostgreSQL's own.
  const words = /^([a-z]+ )+[a-z]+\b/i.test(written)
  const type = words ? ['pg_catalog'] : splitIdentifiers(written.replace(/[([].*$/s, ''), '.')
  if (type === null || type.length === 0) {
    reader.facts.operation(['call', 'admin'], qualify('pg_catalog', name))
  } else noteType(reader, type)
}

/** What reads like a call of PostgreSQL's own, and is one of a user's function where there is one of that name. */
export function noteOverloads(reader: Reader, name: string): void {
  for (const found of functionSchemas(reader, name)) reader.facts.operation(['call'], qualify(found, name))
}

function shown(name: string, call: FuncCallFields): Shows {
  // Of an array the number of elements tells: pairs have to be complete.
  if (call.func_variadic === true) return none
  // With a length or an encoding they fail where that does not do.
  if (/^(varchar|bpchar|length)$/.test(name)) return () => call.args?.length === 1
  if (showing.has(name)) return () => true
  if (showingFirst.has(name)) return (index) => index === 0
  if (showingValues.has(name)) return (index) => index % 2 === 1
  // A pattern would give NULL where it does not match; two positions in numbers do not.
  const positions = name === 'substring' ? call.args?.slice(1) : undefined
  const plain = positions?.every((at) => 'A_Const' in at && 'ival' in at.A_Const) === true
  return (index) => plain && index === 0
}

function isBuiltIn(name: string): boolean {
  return name === 'set_config' || Object.hasOwn(effects, name) || Object.hasOwn(sequenceFunctions, name)
}

/** PostgreSQL reserves `pg_` for its own schemas, not for functions; of its own that are not known harmless, all but these start so. */
function isLikelyBuiltIn(name: string): boolean {
  return /^(pg_|lo_|loread|lowrite|ts_stat|ts_rewrite|query_to_xml|table_to_xml|schema_to_xml|database_to_xml|cursor_to_xml|binary_upgrade_|brin_|gin_|currtid)/.test(
    name,
  )
}

function noteEffect(reader: Reader, name: string, call: FuncCallFields): void {
  const { facts } = reader
  const argument = (index: number): string | null => textOf(unwrapCast(call.args?.[index]))
  if (name === 'set_config') {
    noteSetting(reader, argument(0), argument(1))
    return
  }
  const onSequence = Object.hasOwn(sequenceFunctions, name) ? sequenceFunctions[name] : undefined
  if (onSequence !== undefined) {
    const parts = splitIdentifiers(argument(0) ?? '', '.') ?? []
    const sequence = parts.at(-1)
    // A number is the OID of a relation, whichever it is.
    if (sequence === undefined || /^\d+$/.test(sequence)) {
      facts.operation(['call', 'admin'], qualify('pg_catalog', name))
      return
    }
    const schema = parts.at(-2)
    const target = { relname: sequence, ...(schema === undefined ? {} : { schemaname: schema }) }
    for (const found of resolve(reader, target)) {
      facts.relation(found.schema, found.name)
      facts.operation(onSequence, qualify(found.schema, found.name), { reads: onSequence[1] === 'read' })
    }
    return
  }
  const actions = Object.hasOwn(effects, name) ? effects[name] : undefined
  facts.operation(actions ?? ['call', 'admin'], qualify('pg_catalog', name))
}

/**
 * What a cast is made of, where it is the same text after it: `'s.seq'::regclass` is how pg_dump and serial columns write a sequence, while
 * `'vaulted'::varchar(5)` is another name.
 */
function unwrapCast(node: Parameters<typeof textOf>[0]): Parameters<typeof textOf>[0] {
  if (node === undefined || !('TypeCast' in node)) return node
  const { arg, typeName } = node.TypeCast
  const names = textsOf(typeName?.names)
  const keeps =
    /^(text|varchar|regclass)$/.test(names.at(-1) ?? '') &&
    (names.length === 1 || names.at(-2) === 'pg_catalog') &&
    typeName?.typmods === undefined &&
    typeName?.arrayBounds === undefined
  return keeps ? unwrapCast(arg) : undefined
}
