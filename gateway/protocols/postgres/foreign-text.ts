import { Refused } from '../../core/errors.ts'

/**
 * Refuses what would mean something else to the server than it does here: in an encoding other than the one it is read in
 * (in ASCII all agree). `unsure`: the encoding may have been changed by what is not answered yet.
 */
export function refuseForeignText(
  text: string,
  parameters: ReadonlyMap<string, string>,
  unsure: boolean,
): void {
  const client = parameters.get('client_encoding')
  const same = client === 'UTF8' || (client === 'SQL_ASCII' && parameters.get('server_encoding') === 'UTF8')
  if (isAsciiText(text)) return
  if (foldsElsewhere(parameters.get('server_encoding'), text)) {
    throw new Refused(
      'unsupported',
      'this database may take an unquoted name in letters beyond ASCII for another name',
      'put names with capital letters beyond ASCII in double quotes',
    )
  }
  if (same && !unsure) return
  throw new Refused(
    'unsupported',
    `statements in the encoding ${client ?? 'of this connection'} may hold ASCII only`,
    'connect with client_encoding=UTF8',
  )
}

/**
 * In an encoding of one byte a letter, the server folds capitals beyond ASCII in unquoted names by its locale
 * (downcase_identifier); the parser here, which reads UTF-8, does not: it would take GEHÄLTER for another table.
 */
function foldsElsewhere(encoding: string | undefined, text: string): boolean {
  if (encoding === undefined || !/^(LATIN|ISO_8859|WIN|KOI8)/.test(encoding)) return false
  // Where a string or a quoted name begins and ends is told at a glance only without these.
  const unquoted = /--|\/\*|[$\\]/.test(text) ? text : text.replace(/'[^']*'|"[^"]*"/g, '')
  return /(?!\p{ASCII})[\p{Lu}\p{Lt}]/u.test(unquoted)
}

function isAsciiText(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 127) return false
  return true
}
