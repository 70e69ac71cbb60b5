import type { CopyStmt, Node } from '@pgsql/types'
import type { CopyForm } from './analyzer.ts'
import { readUnknown } from './columns.ts'
import { type Effect, effect } from './effect.ts'
import { readCondition } from './expressions.ts'
import { merge, origin, type Shape, source } from './origin.ts'
import { probeShape } from './probes.ts'
import { textOf, textsOf, unreadable } from './parse-tree.ts'
import type { Reader } from './reader.ts'
import { noteRead, noteWrite, resolve, shapeOf } from './relations.ts'

/** Reads a COPY: what it takes or gives, and in which form. */
export function readCopy(reader: Reader, copy: CopyStmt): Effect {
  const outside = copy.is_program === true ? 'program' : copy.filename === undefined ? null : 'file'
  if (outside !== null) reader.facts.operation([`copy-${outside}`, 'admin'], '')
  const written = readForm(copy.options ?? [])
  if (copy.query !== undefined) {
    const shape = reader.statement(copy.query, null, null)
    // What leaves to a file or a program is shown by nobody here who could mask it.
    if (outside !== null && shape !== null) probeShape(reader, shape)
    // Of what is computed the server does not say the type.
    const form = written && { ...written, columns: null }
    return outside === null ? effect({ shape, kind: 'copy-out', copy: form }) : effect()
  }
  if (copy.relation === undefined) throw unreadable('COPY of nothing')
  reader.facts.seen.add(copy.relation)
  const candidates = resolve(reader, copy.relation)
  const whole = shapeOf(reader, candidates)
  const shape = only(whole, textsOf(copy.attlist))
  if (copy.is_from === true) {
    for (const candidate of candidates) noteWrite(reader, ['copy-in', 'insert', 'write'], candidate)
    const scope = { sources: [source(copy.relation.relname ?? '', whole)], parent: null, ctes: null }
    if (copy.whereClause !== undefined) readCondition(reader, copy.whereClause, scope)
    return effect({ kind: outside === null ? 'copy-in' : 'other' })
  }
  const tables = candidates.map(({ schema, name }) => reader.around.relation(schema, name))
  const stored = tables.every((table) => table?.kind === 'table' || table?.kind === 'foreign')
  for (const { schema, name } of candidates) noteRead(reader, schema, name, ['copy-out'])
  if (outside !== null) {
    probeShape(reader, shape)
    return effect()
  }
  const columns = shape.columns.map((column) =>
    tables.every((table) =>
      textual.test(table?.columns.find(({ name }) => name === column.name)?.type ?? ''),
    ),
  )
  return effect({
    shape,
    kind: 'copy-out',
    copy: written && { ...written, columns: stored ? columns : null },
  })
}

/** As `format_type` names them: types whose values a client takes as any text. */
const textual = /^(text|character varying|character|name|xml)$/

/** The named columns of a shape in the order named; all when none is. */
function only(shape: Shape, names: readonly string[]): Shape {
  if (names.length === 0) return shape
  const columns = names.map((name) => {
    const own = origin()
    const found = shape.columns.filter((column) => column.name === name)
    for (const column of found) merge(own, column.origin)
    if (found.length === 0) readUnknown(shape, name, own)
    return { name, origin: own }
  })
  return { columns, rest: null, exact: columns.length }
}

/** How values are told apart in what COPY gives, by its options; null when that cannot be told. */
function readForm(options: readonly Node[]): Omit<CopyForm, 'columns'> | null {
  const given = new Map<string, string | null>()
  for (const option of options) {
    if (!('DefElem' in option)) return null
    const { defname = '', arg } = option.DefElem
    if (!known.has(defname) || given.has(defname)) return null
    given.set(defname, arg === undefined ? 'true' : valueOf(arg))
  }
  const format = given.get('format')?.toLowerCase() ?? 'text'
  if (format !== 'text' && format !== 'csv' && format !== 'binary') return null
  // The session's own encoding is looked at where the answers are read.
  if (!/^(utf-?8|unicode)$/i.test(given.get('encoding') ?? 'utf8')) return null
  const csv = format === 'csv'
  const one = (name: string, usual: string): string | null => {
    const value = given.has(name) ? given.get(name) : usual
    return value?.length === 1 && value.charCodeAt(0) < 0x80 ? value : null
  }
  const delimiter = one('delimiter', csv ? ',' : '\t')
  const quote = one('quote', '"')
  const escape = one('escape', quote ?? '"')
  const empty = given.has('null') ? given.get('null') : csv ? '' : '\\N'
  const header = given.get('header')?.toLowerCase() ?? 'false'
  if (delimiter === null || quote === null || escape === null || empty === null || empty === undefined)
    return null
  if (!/^(true|on|1|false|off|0)$/.test(header)) return null
  return { format, delimiter, quote, escape, empty, header: /^(true|on|1)$/.test(header) }
}

/** Options that are understood, or that change nothing in how values are told apart. */
const known: ReadonlySet<string> = new Set([
  'format',
  'delimiter',
  'null',
  'header',
  'quote',
  'escape',
  'force_quote',
  'encoding',
  'freeze',
])

function valueOf(node: Node): string | null {
  if ('Integer' in node) return String(node.Integer.ival ?? 0)
  if ('Boolean' in node) return node.Boolean.boolval === true ? 'true' : 'false'
  return textOf(node)
}
