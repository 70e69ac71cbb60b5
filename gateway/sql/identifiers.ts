const plain = /^[\p{L}_][\p{L}\p{N}_$]*$/u

/**
 * A name part as it stands in a resource: as it is, or quoted as in SQL when a dot, quote, wildcard, space or the like
 * could make it look like another resource (`a.b` becomes `"a.b"`, so that table `b` of schema `a` stays distinct).
 */
export function quote(part: string): string {
  return plain.test(part) ? part : `"${part.replaceAll('"', '""')}"`
}

/** `schema.name` in canonical form. */
export function qualify(...parts: readonly string[]): string {
  return parts.map(quote).join('.')
}

/** As PostgreSQL folds what is not quoted, in encodings of several bytes: letters of ASCII alone (downcase_identifier). */
function fold(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
}

/** A name as the server keeps it: the first 63 bytes, whole characters (NAMEDATALEN, truncate_identifier). */
export function cut(name: string): string {
  const bytes = Buffer.from(name)
  if (bytes.length <= 63) return name
  let end = 63
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1
  return bytes.toString('utf8', 0, end)
}

/**
 * Splits a list of identifiers as PostgreSQL does (SplitIdentifierString): `a, "B c"` for search_path, `s.seq` with
 * separator `.` for regclass. Unquoted parts are folded to lower case. Null when malformed.
 */
export function splitIdentifiers(text: string, separator: ',' | '.'): string[] | null {
  const parts: string[] = []
  let rest = text.trim()
  if (rest === '') return parts
  for (;;) {
    const match = /^(?:"((?:[^"]|"")*)"|([^",.\s]+))\s*/u.exec(rest)
    if (match === null) return null
    parts.push(cut(match[1] !== undefined ? match[1].replaceAll('""', '"') : fold(match[2] ?? '')))
    rest = rest.slice(match[0].length)
    if (rest === '') return parts
    if (!rest.startsWith(separator)) return null
    rest = rest.slice(1).trimStart()
  }
}
