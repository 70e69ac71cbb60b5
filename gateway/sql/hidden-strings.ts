import type { Column } from '../core/operation.ts'
import { readsUnnamed, wordsOf } from './function-sources.ts'
import { noteReturned } from './functions.ts'
import { cut } from './identifiers.ts'
import { namesIn } from './object-names.ts'
import { mergeShape, origin } from './origin.ts'
import { type Fields, isFields, open } from './parse-tree.ts'
import { extentOf, type Parsed } from './parsed.ts'
import type { Reader } from './reader.ts'
import { shapeOf } from './relations.ts'
import { secretSetting } from './session-settings.ts'

/** Statements any string of which may be a password. */
const holdsSecrets: ReadonlySet<string> = new Set([
  'CreateRoleStmt',
  'AlterRoleStmt',
  'CreateSubscriptionStmt',
  'AlterSubscriptionStmt',
  'CreateUserMappingStmt',
  'AlterUserMappingStmt',
  'CreateForeignServerStmt',
  'AlterForeignServerStmt',
  'CreateForeignTableStmt',
  'ImportForeignSchemaStmt',
  'CreateFdwStmt',
  'AlterFdwStmt',
  'AlterSystemStmt',
])

/** Statements whose strings are programs, which may hold such statements. */
const holdsPrograms: ReadonlySet<string> = new Set(['DoStmt', 'CreateFunctionStmt'])
const speaksOfSecrets = /password|user\s+mapping|dblink|connection|subscription|secret|token|crypt/i
/** Languages whose strings are written as in SQL. */
const writtenLikeSql = /^(sql|plpgsql)$/i
/** Operators, as long as they may be. */
const operators = /[-+*/<>=~!@#%^&|`?]+/g
/** More words than this are not looked up one by one. */
const mostWords = 500

interface Within {
  readonly from: number
  readonly to: number
  /** Of what the strings are: passwords, a program (in SQL or in anything), or text about columns. */
  readonly strings: 'secrets' | 'program' | 'foreign-program' | ReadonlySet<Column>
}

/**
 * Notes the strings that must not be shown and whose place the tree does not say: passwords, comments beside them, what
 * COMMENT says of masked columns, and within programs the literals, where the program speaks of secrets or of relations
 * (whose masked columns they may meet). The rest of a program stays, for those who are asked have to see what it does.
 */
export function noteHidden(reader: Reader, parsed: Parsed, settings: readonly Fields[]): void {
  for (const { name, args } of settings) if (secretSetting.test(String(name))) hideConstants(reader, args)
  const within = parsed.statements.flatMap((node): Within[] => {
    const { tag, fields } = open(node) ?? { tag: '', fields: {} }
    const strings = stringsOf(reader, tag, fields)
    if (holdsPrograms.has(tag))
      for (const program of programsOf(fields)) noteProgram(reader, program, languageOf(fields))
    return strings === null ? [] : [{ ...extentOf(node, parsed), strings }]
  })
  if (within.length === 0) return
  const bytes = Buffer.from(parsed.text)
  for (const token of parsed.tokens()) {
    const first = bytes.toString('latin1', token.start, token.start + 2)
    if (!/^(['$]|[eEnN]'|[uU]&|\/\*|--)/.test(first)) continue
    const held = within.find(({ from, to }) => token.start >= from && token.start < to)
    if (held === undefined) continue
    const { strings } = held
    if (strings === 'secrets') reader.facts.secrets.add(token.start)
    else if (typeof strings !== 'string') link(reader, token.start, strings)
    else hideWithin(reader, bytes, token, strings === 'program')
  }
}

function stringsOf(reader: Reader, tag: string, fields: Fields): Within['strings'] | null {
  if (holdsSecrets.has(tag) || setsOptions(tag, fields)) return 'secrets'
  if (holdsPrograms.has(tag)) return writtenLikeSql.test(languageOf(fields)) ? 'program' : 'foreign-program'
  return reader.facts.unplaced.get(fields)?.columns ?? null
}

/** ALTER FOREIGN TABLE … OPTIONS. */
function setsOptions(tag: string, fields: Fields): boolean {
  return tag === 'AlterTableStmt' && JSON.stringify(fields['cmds'] ?? null).includes('GenericOptions"')
}

function languageOf(fields: Fields): string {
  const options = fields['args'] ?? fields['options']
  for (const item of Array.isArray(options) ? options : []) {
    const option: unknown = isFields(item) ? item['DefElem'] : undefined
    if (!isFields(option) || option['defname'] !== 'language' || !isFields(option['arg'])) continue
    const word = option['arg']['String']
    return isFields(word) ? String(word['sval']) : ''
  }
  return 'plpgsql'
}

function hideConstants(reader: Reader, value: unknown): void {
  if (Array.isArray(value)) for (const item of value) hideConstants(reader, item)
  if (!isFields(value)) return
  const constant = value['A_Const']
  if (isFields(constant)) {
    if (typeof constant['location'] === 'number') reader.facts.secrets.add(constant['location'])
    return
  }
  for (const field of Object.values(value)) hideConstants(reader, field)
}

function link(reader: Reader, start: number, columns: ReadonlySet<Column>): void {
  reader.facts.link({ columns: new Set(columns), literals: new Set([start]) })
}

/** Hides what is in a program; all of it where its strings cannot be told. */
function hideWithin(
  reader: Reader,
  bytes: Buffer,
  token: { start: number; end: number },
  likeSql: boolean,
): void {
  const program = bytes.toString('utf8', token.start, token.end)
  const secret = speaksOfSecrets.test(program)
  const columns = columnsIn(reader, program)
  if (!secret && columns.size === 0) return
  const inner = likeSql ? stringsIn(program) : null
  // They come in order, each measured from the end of the one before.
  let [start, end, from] = [token.start, token.start, 0]
  for (const { at, length } of inner ?? [{ at: 0, length: program.length }]) {
    start = end + Buffer.byteLength(program.slice(from, at))
    end = start + Buffer.byteLength(program.slice(at, at + length))
    from = at + length
    reader.facts.ends.set(start, end)
    if (secret) reader.facts.secrets.add(start)
    else link(reader, start, columns)
  }
}

/** The programs of a definition or DO, as the server reads them: a literal can be written in parts, and with escapes. */
function programsOf(fields: Fields): string[] {
  const options = fields['args'] ?? fields['options']
  return (Array.isArray(options) ? options : []).flatMap((item: unknown) => {
    const option = isFields(item) ? item['DefElem'] : undefined
    return isFields(option) && option['defname'] === 'as' ? namesIn(option['arg']) : []
  })
}

/** Notes what a program may show by notices and errors, or move elsewhere: of every relation that it names, or of any. */
function noteProgram(reader: Reader, program: string, language: string): void {
  const any = readsUnnamed(language, program)
  if (any) reader.facts.relations.add('*.*')
  reader.facts.probe(origin(any ? ['*.*.*'] : columnsIn(reader, program)))
}

/** The columns of all relations whose names stand in a program, in strings of it as well. */
function columnsIn(reader: Reader, program: string): ReadonlySet<Column> {
  // Which quotes belong together is not looked at: what is between any two may be a name, and two are one within it.
  const between = program.replaceAll('""', '\0').split('"').slice(1)
  const quoted = between.map((name) => cut(name.replaceAll('\0', '"')))
  const names = new Set([...wordsOf(program), ...quoted])
  const own = origin()
  if (names.size > mostWords || program.includes('"""')) own.columns.add('*.*.*')
  else {
    for (const name of names)
      for (const schema of reader.around.relationSchemas(name)) {
        const known = reader.around.relation(schema, name)
        mergeShape(own, shapeOf(reader, [{ schema, name, known }]))
      }
    // A sign at the end may be one by itself.
    const signs = [...(program.match(operators) ?? [])].flatMap((each) => [each, each.replace(/[-+]+$/, '')])
    for (const name of new Set([...names, ...signs]))
      for (const schema of reader.around.functionSchemas(name)) noteReturned(reader, schema, name, own, false)
  }
  return own.columns
}

/** Strings and comments of a program written as a literal; null where escapes or nesting could make it read otherwise. */
function stringsIn(program: string): { at: number; length: number }[] | null {
  const quoted = program.startsWith("'")
  if ((!quoted && !program.startsWith('$')) || program.includes('\\')) return null
  // Within '…' every quote stands twice.
  const string = quoted ? /''(?:[^']|'''')*''/.source : /'(?:[^']|'')*'/.source
  const found = new RegExp(
    String.raw`--[^\n]*|/\*[\s\S]*?\*/|${string}|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$`,
    'g',
  )
  const from = quoted ? 1 : program.indexOf('$', 1) + 1
  const body = program.slice(from, program.length - from)
  const strings: { at: number; length: number }[] = []
  const rest = body.replace(found, (match, _tag, at: number) => {
    if (!match.startsWith('"')) strings.push({ at: from + at, length: match.length })
    return match.includes('/*', 2) ? "'" : ' '
  })
  return rest.includes("'") ? null : strings
}
