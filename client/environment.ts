import { wrongUsage } from './error.ts'

export const formats = ['sh', 'dotenv', 'json', 'powershell', 'docker'] as const
export type Format = (typeof formats)[number]

/** Variables as text that the named reader reads back to exactly these values; throws where its format cannot say one. */
export function formatEnvironment(variables: Readonly<Record<string, string>>, format: Format): string {
  const entries = Object.entries(variables)
  for (const [name, value] of entries) check(name, value)
  switch (format) {
    case 'json':
      return `${JSON.stringify(variables, null, 2)}\n`
    case 'sh':
      return lines(entries, (name, value) => `export ${name}='${value.replaceAll("'", `'\\''`)}'`)
    case 'powershell':
      // PowerShell takes the typographic single quotes for quotes, too.
      return lines(entries, (name, value) => `$env:${name} = '${value.replace(/['‘’‚‛]/g, '$&$&')}'`)
    case 'dotenv':
      return lines(entries, (name, value) => `${name}=${quoteDotenv(name, value)}`)
    case 'docker':
      // `docker run --env-file` takes the rest of the line as it stands.
      return lines(entries, (name, value) => {
        if (/[\r\n]/.test(value)) throw cannotSay(name, 'docker')
        return `${name}=${value}`
      })
  }
}

function lines(entries: [string, string][], line: (name: string, value: string) => string): string {
  return entries.map(([name, value]) => `${line(name, value)}\n`).join('')
}

function check(name: string, value: string): void {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || value.includes('\0')) {
    throw wrongUsage(
      `${JSON.stringify(name)} cannot be a variable`,
      'use letters, digits and "_", and no NUL in the value',
    )
  }
}

/** dotenv has quotes and no escapes within them (but `\n` in double quotes): whichever quote the value lacks. */
function quoteDotenv(name: string, value: string): string {
  const quote = value.includes("'") ? (value.includes('`') ? '"' : '`') : "'"
  const escaped = quote === '"' && /["\\$]/.test(value)
  if (value.includes(quote) || escaped || value.includes('\r')) throw cannotSay(name, 'dotenv')
  return `${quote}${value}${quote}`
}

function cannotSay(name: string, format: Format): Error {
  return wrongUsage(`the value of ${name} cannot be written as ${format}`, 'use --format json')
}
