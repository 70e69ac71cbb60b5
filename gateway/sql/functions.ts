import {
  dangerousExtension,
  effects,
  harmless,
  sequenceFunctions,
  showing,
  showingFirst,
  takesCredentials,
  volatileHarmless,
} from './builtin-functions.ts'
import { qualify, splitIdentifiers } from './identifiers.ts'
import { origin, type Origin, type Scope } from './origin.ts'
import { eachChild, textOf, textsOf, unreadable } from './parse-tree.ts'
import type { FuncCallFields, Reader } from './reader.ts'
import { firstSchema, functionSchemas, resolve } from './relations.ts'
import { noteSetting } from './settings.ts'

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
  const shows = noteCall(reader, names.length > 1 ? (names.at(-2) ?? null) : null, name, call)
  const own = origin()
  const distinct = call.agg_distinct === true
  call.args?.forEach((argument, index) => {
    reader.expression(argument, scope, own, probe || distinct || index >= shows)
  })
  for (const order of call.agg_order ?? []) reader.expression(order, scope, own, true)
  if (call.agg_filter !== undefined) reader.expression(call.agg_filter, scope, own, true)
  // Windows order and group by their columns, which shows in the value only as a position.
  if (call.over !== undefined)
    eachChild(call.over, (child) => reader.expression(child, scope, origin(), true))
  if (takesCredentials.test(name)) for (const literal of own.literals) reader.facts.secrets.add(literal)
  for (const column of own.columns) into.columns.add(column)
  for (const literal of own.literals) into.literals.add(literal)
}

/** Notes the operation of a call; gives how many arguments, from the first, may come out masked without telling anything else. */
export function noteCall(reader: Reader, schema: string | null, name: string, call: FuncCallFields): number {
  const { facts } = reader
  // JDBC and ORMs read index columns by information_schema._pg_expandarray.
  if (schema === 'information_schema' && name.startsWith('_pg_')) return 0
  if (schema !== null && schema !== 'pg_catalog') {
    facts.operation(dangerousExtension.test(name) ? ['call', 'admin'] : ['call'], qualify(schema, name))
    return 0
  }
  // An overload in a user's schema wins when its argument types fit better, even behind pg_catalog (10.3).
  const overloads = schema === null ? functionSchemas(reader, name) : []
  for (const found of overloads) {
    facts.operation(dangerousExtension.test(name) ? ['call', 'admin'] : ['call'], qualify(found, name))
  }
  if (harmless.has(name) || volatileHarmless.has(name)) return overloads.length > 0 ? 0 : shown(name, call)
  if (isBuiltIn(name)) {
    noteEffect(reader, name, call)
  } else if (overloads.length === 0) {
    const where = schema ?? (isLikelyBuiltIn(name) ? 'pg_catalog' : firstSchema(reader))
    facts.operation(
      dangerousExtension.test(name) || where === 'pg_catalog' ? ['call', 'admin'] : ['call'],
      qualify(where, name),
    )
  }
  return 0
}

function shown(name: string, call: FuncCallFields): number {
  if (showing.has(name)) return Infinity
  if (showingFirst.has(name)) return 1
  // A pattern would give NULL where it does not match; two positions in numbers do not.
  const positions = name === 'substring' ? call.args?.slice(1) : undefined
  return positions?.every((at) => 'A_Const' in at && 'ival' in at.A_Const) === true ? 1 : 0
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

/** `'s.seq'::regclass` is how pg_dump and serial columns write a sequence. */
export function unwrapCast(node: Parameters<typeof textOf>[0]): Parameters<typeof textOf>[0] {
  return node !== undefined && 'TypeCast' in node ? unwrapCast(node.TypeCast.arg) : node
}
