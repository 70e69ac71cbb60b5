import type { QueryValues } from '../../core/operation.ts'

const PARAMETERS = 512

/**
 * The parameters of a query (from `?` on, or empty), each value with every text by which a server may take it. Null when
 * servers differ in what its parameters are: `;` (a separator to some), escapes that are no UTF-8 or escape names twice, controls.
 */
export function readQuery(query: string): ReadonlyMap<string, QueryValues> | null {
  const found = new Map<string, (readonly string[])[]>()
  if (query.includes(';')) return null
  const pieces = query.slice(1).split('&')
  if (pieces.length > PARAMETERS) return null
  for (const piece of pieces) {
    if (piece === '') continue
    const equals = piece.indexOf('=')
    const [writtenName, written] =
      equals < 0 ? [piece, ''] : [piece.slice(0, equals), piece.slice(equals + 1)]
    const name = unescaped(writtenName)
    const value = unescaped(written)
    if (name === null || value === null || writtenName.includes('+') || escape.test(name)) return null
    if (/\p{Cc}/u.test(name) || value.includes('\0')) return null
    const values = found.get(name) ?? []
    values.push(readings(written, value))
    found.set(name, values)
  }
  return found
}

const escape = /%[\da-f]{2}/i

/** As it stands, with `+` for a space, and undone twice. */
function readings(written: string, value: string): readonly string[] {
  const all = [value]
  if (written.includes('+')) all.push(unescaped(written.replaceAll('+', ' ')) ?? value)
  const twice = all.filter((one) => escape.test(one)).map((one) => unescaped(one) ?? one)
  return [...all, ...twice]
}

function unescaped(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null // a percent sign that escapes nothing
  }
}
