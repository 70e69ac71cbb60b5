import { ClientError, printable, systemCode } from '../../client/error.ts'

/** One line for people, on standard error: standard output is for what programs read. */
export function tell(line: string): void {
  process.stderr.write(`hoop-access: ${line}\n`)
}

/** The same for programs: one JSON object a line, with what the line is about. */
export function tellJson(message: string, about?: object): void {
  process.stderr.write(`${JSON.stringify({ message, ...about })}\n`)
}

/** Says what went wrong and what to do next; `json` for programs: `{ message, error, next }`. */
export function complain(error: unknown, json: boolean): void {
  const [why, about] = failureOf(error)
  if (json) return tellJson(why, about)
  tell(why)
  if (about.next !== undefined) process.stderr.write(`  next: ${about.next}\n`)
}

function failureOf(error: unknown): [message: string, about: { error: string; next?: string }] {
  if (error instanceof ClientError) return [error.why, { error: error.code, next: error.next }]
  const next = remedies[systemCode(error) ?? '']
  return [
    error instanceof Error ? error.message : 'something failed that is not an error',
    { error: 'failed', ...(next !== undefined && { next }) },
  ]
}

/** What to do about an error of the system that nobody foresaw where it happened. */
const remedies: Readonly<Record<string, string>> = {
  EACCES: 'let this user read and write there, or name another place',
  EMFILE: 'raise the limit of open files (ulimit -n)',
  ENOSPC: 'make room on that disk',
  EROFS: 'name a place on a file system that can be written to',
}

/** For programs: JSON, with a new line. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** Rows under headings, in columns as wide as they need; nothing in a cell reaches the terminal as a command. */
export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const clean = [headings, ...rows].map((row) => row.map((cell) => printable(cell, 200)))
  const widths = headings.map((_, column) => Math.max(...clean.map((row) => row[column]?.length ?? 0)))
  for (const row of clean) {
    print(
      row
        .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
        .join('  '),
    )
  }
}

/** Names with values below one another; a value of several lines is indented. */
export function printFields(fields: readonly (readonly [string, string])[]): void {
  const width = Math.max(...fields.map(([name]) => name.length))
  for (const [name, value] of fields) {
    const [first = '', ...more] = value.split('\n').map((line) => printable(line, 4000))
    print(`${name.padEnd(width)}  ${first}`)
    for (const line of more) print(`${' '.repeat(width)}  ${line}`)
  }
}
