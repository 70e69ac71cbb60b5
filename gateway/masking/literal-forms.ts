// The forms in which a secret leaks: what programs make of a text to put it into another one, and dumps of its bytes.

/** A secret's forms, as bytes: those that are found in upper and lower case, and those whose case says something. */
export interface Forms {
  readonly anyCase: readonly Buffer[]
  readonly asIs: readonly Buffer[]
}

export function formsOf(secret: string): Forms {
  const encodings = encodingsOf(secret)
  const texts = new Set([
    secret,
    Array.from(secret).reverse().join(''),
    ...escaped(secret),
    ...percent(secret),
    ...entities(secret),
    ...encodings.flatMap(dumps),
  ])
  const once = encodings.flatMap(base64Forms)
  const twice = once.slice(0, 3).flatMap((text) => base64Forms(Buffer.from(text)))
  const coded = [...once, ...twice]
  const asIs = new Set([...coded, ...coded.map((text) => text.replaceAll('+', '-').replaceAll('/', '_'))])
  return {
    anyCase: [...Array.from(texts, (text) => Buffer.from(text)), ...encodings.slice(1)],
    asIs: Array.from(asIs, (text) => Buffer.from(text)),
  }
}

/** The text's bytes: UTF-8 first, UTF-16 in both orders (Windows), and Latin-1 where that is something else. */
function encodingsOf(text: string): Buffer[] {
  const wide = Buffer.from(text, 'utf16le')
  const found = [Buffer.from(text), wide, Buffer.from(wide).swap16()]
  if (/[\x80-\xff]/.test(text) && !/[^\0-\xff]/.test(text)) found.push(Buffer.from(text, 'latin1'))
  return found
}

/** Each unit of a text, or each byte, written as `write` does. */
const each = (items: Iterable<number>, write: (code: number) => string, between = ''): string =>
  Array.from(items, write).join(between)
const hex = (size: number) => (code: number) => code.toString(16).padStart(size, '0')
const unitsOf = (text: string): number[] => Array.from(text, (_, at) => text.charCodeAt(at))

/** Hexadecimal as it is, by pairs, as `xxd` and C have it, and octal escapes as `bytea` has them. */
function dumps(bytes: Buffer): string[] {
  const plain = bytes.toString('hex')
  const pairs = [' ', ':', ', 0x', '\\x'].map((between) => each(bytes, hex(2), between))
  // By two bytes, from the first and from the second on.
  const groups = [plain, plain.slice(2)].map((text) => text.replaceAll(/.{4}(?=.)/g, '$& '))
  return [plain, ...pairs, ...groups, each(bytes, (code) => `\\${code.toString(8).padStart(3, '0')}`)]
}

/** Within quotes: JSON (RFC 8259 §7) as different programs write it, once and twice, SQL, CSV, shells. */
function escaped(text: string): string[] {
  const json = JSON.stringify(text).slice(1, -1)
  const ascii = (one: string, which: RegExp): string =>
    one.replaceAll(which, (unit) => `\\u${hex(4)(unit.charCodeAt(0))}`)
  const once = [
    json,
    json.replaceAll('/', '\\/'),
    ascii(json, /[\x80-\uffff]/g),
    ascii(json, /[<>&\x80-\uffff]/g),
    ascii(json.replaceAll('\\"', '\\u0022'), /[<>&'\x80-\uffff]/g),
    each(unitsOf(text), (code) => `\\u${hex(4)(code)}`),
  ]
  return [
    ...once,
    ...once.map((one) => JSON.stringify(one).slice(1, -1)),
    text.replaceAll('\\', '\\\\'),
    text.replaceAll("'", "''"),
    text.replaceAll("'", "''").replaceAll('\\', '\\\\'),
    text.replaceAll('"', '""'),
    text.replaceAll("'", String.raw`'\''`),
    text.replaceAll(/[^\w%+,./:=@-]/g, String.raw`\$&`),
  ]
}

/** URLs (RFC 3986 §2.1) and forms, by what different programs leave as it is, or nothing; once and twice. */
function percent(text: string): string[] {
  const write = (one: string, leave: RegExp): string =>
    Array.from(one, (character) =>
      leave.test(character) ? character : each(Buffer.from(character), (code) => `%${hex(2)(code)}`),
    ).join('')
  const once = [/[\w.~!*'()-]/, /[\w.~-]/, /[\w.~/-]/, /[\w.*-]/, /[\w.~!*'();/?:@&=+$,#-]/, /(?!)/].map(
    (leave) => write(text, leave),
  )
  const all = [...once, ...once.map((one) => one.replaceAll('%20', '+'))]
  const twice = all.flatMap((one) => {
    const inner = one.replaceAll('%', '%25')
    return [inner, inner.replaceAll('+', '%2b')]
  })
  return [...all, ...twice, each(Buffer.from(text), (code) => `=${hex(2)(code)}`)]
}

/** HTML and XML: what has to be escaped, in the ways that are usual; all of it by number. */
function entities(text: string): string[] {
  const base = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
  const quotes = ['"', '&quot;', '&#34;', '&#x22;'].flatMap((double) =>
    ["'", '&#39;', '&#039;', '&#x27;', '&apos;'].map((single) =>
      base.replaceAll('"', double).replaceAll("'", single),
    ),
  )
  const points = Array.from(text, (character) => character.codePointAt(0) ?? 0)
  return [...quotes, each(points, (code) => `&#${code};`), each(points, (code) => `&#x${code.toString(16)};`)]
}

/** What is common to every base64 text that holds the bytes, for each of the three alignments. */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
    // The first characters mix with what stands before, the last with what stands after.
    const whole = Math.floor(((offset + bytes.length) * 8) / 6)
    return text.slice(Math.ceil((offset * 8) / 6), whole)
  })
}
