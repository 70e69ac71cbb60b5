// A step of somebody's pipeline: it knows DATABASE_URL and nothing of any gateway.
import pg from 'pg'

const client = new pg.Client({ connectionString: process.env.DATABASE_URL })
client.on('notice', ({ severity, message, detail, hint }) =>
  say({ severity: severity ?? 'NOTICE', message, detail, hint }),
)

try {
  await client.connect()
  for (const statement of process.argv.slice(2)) {
    const { fields, rows, command, rowCount } = await client.query<Record<string, unknown>>(statement)
    if (fields.length > 0)
      printTable(
        fields.map(({ name }) => name),
        rows,
      )
    else console.log(rowCount === null ? command : `${command} ${rowCount}`)
  }
} catch (error) {
  if (error instanceof pg.DatabaseError) {
    say({
      severity: 'ERROR',
      message: `${error.code}: ${error.message}`,
      detail: error.detail,
      hint: error.hint,
    })
  } else {
    console.error(`psql: ${error instanceof Error ? error.message : String(error)}`)
  }
  process.exitCode = 1
} finally {
  await client.end()
}

function say(told: {
  severity: string
  message: string | undefined
  detail?: string | undefined
  hint?: string | undefined
}): void {
  console.error(`${told.severity}: ${told.message}`)
  if (told.detail !== undefined) console.error(`DETAIL: ${told.detail}`)
  if (told.hint !== undefined) console.error(`HINT: ${told.hint}`)
}

function printTable(names: readonly string[], rows: readonly Record<string, unknown>[]): void {
  const cells = rows.map((row) => names.map((name) => write(row[name])))
  const widths = names.map((name, index) =>
    Math.max(name.length, ...cells.map((row) => row[index]?.length ?? 0)),
  )
  const line = (row: readonly string[]): string =>
    row.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join(' | ')
  console.log(line(names).trimEnd())
  console.log(widths.map((width) => '-'.repeat(width)).join('-+-'))
  for (const row of cells) console.log(line(row).trimEnd())
}

function write(value: unknown): string {
  if (value === null || value === undefined) return ''
  return typeof value === 'string' ? value : JSON.stringify(value)
}
