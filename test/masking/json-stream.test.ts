import { describe, expect, test } from 'vitest'
import { MaskedEvents } from '../../gateway/masking/event-stream.ts'
import { createJsonStream } from '../../gateway/masking/json-stream.ts'
import { compilePath } from '../../gateway/policy/json-path.ts'
import type { FieldMask } from '../../gateway/policy/policy.ts'
import { Random } from '../policy/random.ts'

const fieldsOf = (...paths: string[]): FieldMask[] =>
  paths.map((text) => {
    const path = compilePath(text)
    if (path === null) throw new Error(`no path: ${text}`)
    return { mask: { name: 'pii', with: 'redact' }, path }
  })
const maskText = (_: unknown, text: Uint8Array | null): Uint8Array | null =>
  text === null ? null : Buffer.from('"ü"')
const shown = '"\\"ü\\""'
const stream = (fields: FieldMask[]) => createJsonStream(fields, maskText, () => undefined)

function masked(paths: readonly string[], text: string, split = text.length): string {
  const masks = stream(fieldsOf(...paths))
  const bytes = Buffer.from(text)
  const out = [masks.push(bytes.subarray(0, split)), masks.push(bytes.subarray(split)), masks.end()]
  return Buffer.concat(out.map((part) => Buffer.from(part))).toString()
}

/** Masks it in every split into two, and byte by byte; each has to give the same. */
function everyWay(paths: readonly string[], text: string): string {
  const whole = masked(paths, text)
  const { length } = Buffer.from(text)
  for (let split = 0; split <= length; split++) expect(masked(paths, text, split)).toBe(whole)
  const masks = stream(fieldsOf(...paths))
  const bytes = Array.from(Buffer.from(text), (byte) => Buffer.from(masks.push(Uint8Array.of(byte))))
  expect(Buffer.concat([...bytes, masks.end()]).toString()).toBe(whole)
  return whole
}

describe('paths', () => {
  test.each([
    ['$.a', '{"a":"x","b":"x"}', `{"a":${shown},"b":"x"}`],
    ['$.a', ' { "a" : "x" , "b" : { "a" : "y" } } ', ` { "a" : ${shown} , "b" : { "a" : "y" } } `],
    ['$.c[*].e', '{"c":[{"e":"x"},{"f":1,"e":"y"},7]}', `{"c":[{"e":${shown}},{"f":1,"e":${shown}},7]}`],
    ['$.c[1]', '{"c":["x","y","z"]}', `{"c":["x",${shown},"z"]}`],
    ['$..e', '[{"e":"x"},{"a":{"e":["y",{"e":"z"}]}}]', `[{"e":${shown}},{"a":{"e":[]}}]`],
    ["$['a b']", '{"a b":"x"}', `{"a b":${shown}}`],
    [
      '$.*',
      '{"a":"x","b":1,"c":true,"d":null,"e":{"x":1},"f":[1]}',
      `{"a":${shown},"b":0,"c":false,"d":null,"e":{},"f":[]}`,
    ],
    ['$', '"x"', shown],
    ['$', '{"a":[1,{"b":2}]}', '{}'],
    ['$..n', '{"n":-1.5e3,"m":1}', '{"n":0,"m":1}'],
    ['$.a.b', '{"a":[{"b":"x"}]}', '{"a":[{"b":"x"}]}'],
    ['$.a', '{}', '{}'],
  ])('%s in %s', (path, text, expected) => expect(everyWay([path], text)).toBe(expected))

  test.each(['a', '$a', '$.', '$..', '$[', '$[-1]', '$[?(@.a)]', '$.a[1:2]', '$.a b', `$${'.a'.repeat(40)}`])(
    '%s is none',
    (text) => expect(compilePath(text)).toBeNull(),
  )
})

describe('what would hide a field', () => {
  test.each([
    ['a name twice', '{"a":"x","a":"y"}', `{"a":${shown},"a":${shown}}`],
    ['escapes in a name', '{"\\u0061":"x","\\u0041":"y"}', `{"\\u0061":${shown},"\\u0041":${shown}}`],
    ['another case or width', '{"A":"x","ａ":"y"}', `{"A":${shown},"ａ":${shown}}`],
    ['escapes in a text', '{"a":"\\"x\\\\","b":1}', `{"a":${shown},"b":1}`],
    ['texts one after the other', '{"a":"x"}\n{"a":"y"}{"a":1}\n', `{"a":${shown}}\n{"a":${shown}}{"a":0}\n`],
    ['a byte order mark', '\ufeff{"a":"x"}', `\ufeff{"a":${shown}}`],
    [
      'record separators',
      '\u001e{"a":"x"}\n\u001e{"a":"y"}\n',
      `\u001e{"a":${shown}}\n\u001e{"a":${shown}}\n`,
    ],
    ['words that JSON does not have', '{"b":NaN,"a":-Infinity}', '{"b":NaN,"a":0}'],
  ])('%s does not', (_, text, expected) => expect(everyWay(['$.a'], text)).toBe(expected))

  test.each([
    ['single quotes', "{'a':'x'}"],
    ['a comment', '{/* */"a":"x"}'],
    ['a comma too many', '{"a":"x",}'],
    ['no comma', '{"b":1 "a":"x"}'],
    ['no colon', '{"a" "x"}'],
    ['a line within a text', '{"b":"\n","a":"x"}'],
    ['a wrong bracket', '{"b":[1},"a":"x"}'],
    ['an end too many', '}{"a":"x"}'],
    ['an end too few', '{"a":"x"'],
    ['a text without end', '{"a":"x'],
    ['a name of bytes that mean nothing', Buffer.from('{"\xffa":"x"}', 'latin1')],
    ['an escape that means nothing', '{"\\x61":"x"}'],
    ['a guard against scripts', ')]}\',\n{"a":"x"}'],
    ['depth', `${'['.repeat(600)}{"a":"x"}`],
    ['a form', 'a=x'],
    ['a page', '<p>x</p>'],
  ])('%s is refused', (_, text) => {
    const masks = stream(fieldsOf('$..a'))
    expect(() => {
      masks.push(Buffer.from(text))
      masks.end()
    }).toThrow('cannot be read as JSON')
  })

  test('texts and names of any length are masked in little memory', () => {
    const masks = stream(fieldsOf('$..a'))
    const big = Buffer.alloc(1 << 20, 'x')
    let out = Buffer.from(masks.push(Buffer.from('{"a":"'))).toString()
    for (let i = 0; i < 64; i++) expect(masks.push(big).length).toBe(0)
    out += Buffer.from(masks.push(Buffer.from('","'))).toString()
    for (let i = 0; i < 8; i++) expect(masks.push(big).length).toBe(big.length)
    out += Buffer.from(masks.push(Buffer.from('":{"a":1}}'))).toString()
    expect(out).toBe('{"a":"[masked]","":{"a":0}}'.replace(',"":', ',"":'))
  })
})

test('what is masked is what a parser would find there, whatever the text', () => {
  const random = new Random(7)
  const names = ['a', 'b', 'A', 'c d', 'ü', '\\"', '']
  const make = (depth: number): unknown => {
    const kind = random.below(depth > 4 ? 4 : 6)
    if (kind === 0) return random.pick(['x', '"', '\\', '\n{}', 'ü😀', ''])
    if (kind === 1) return random.pick([0, -1.5, 1e21])
    if (kind === 2) return random.pick([true, false, null])
    if (kind === 3) return {}
    const count = random.below(4)
    if (kind === 4) return Array.from({ length: count }, () => make(depth + 1))
    return Object.fromEntries(Array.from({ length: count }, () => [random.pick(names), make(depth + 1)]))
  }
  const mask = (value: unknown): unknown => {
    if (typeof value === 'string') return '"ü"'
    if (typeof value === 'number') return 0
    if (typeof value === 'boolean') return false
    return Array.isArray(value) ? [] : value === null ? null : {}
  }
  const walk = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(walk)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [
        name,
        name.toLowerCase() === 'a' ? mask(inner) : walk(inner),
      ]),
    )
  }
  for (let i = 0; i < 400; i++) {
    const value = make(0)
    const text = JSON.stringify(value, null, random.below(3))
    const { length } = Buffer.from(text)
    for (const split of [0, random.below(length), random.below(length), length])
      expect(JSON.parse(masked(['$..a'], text, split))).toEqual(walk(value))
  }
})

describe('server-sent events', () => {
  const run = (text: string, cut: (bytes: Buffer) => Buffer[]): string => {
    const events = new MaskedEvents(() => stream(fieldsOf('$..a')))
    return Buffer.concat(cut(Buffer.from(text)).map((part) => Buffer.from(events.push(part)))).toString()
  }
  const whole = (text: string): string => {
    const at = run(text, (bytes) => [bytes])
    for (let split = 0; split <= Buffer.from(text).length; split++)
      expect(run(text, (bytes) => [bytes.subarray(0, split), bytes.subarray(split)])).toBe(at)
    expect(run(text, (bytes) => Array.from(bytes, (byte) => Buffer.of(byte)))).toBe(at)
    return at
  }

  test.each(['\n', '\r\n', '\r'])('data is masked, ends of lines %j', (end) => {
    const text = [
      'event: x',
      'id: 7',
      'data: {"a":"x"}',
      '',
      ': hello',
      'data:{"b":1,',
      'data:"a":"y"}',
      '',
      'data: [DONE]',
      'data',
      '',
      '',
    ].join(end)
    const expected = [
      'event: x',
      'id: 7',
      `data: {"a":${shown}}`,
      '',
      ': hello',
      'data:{"b":1,',
      `data:"a":${shown}}`,
      '',
      'data: [DONE]',
      'data',
      '',
      '',
    ].join(end)
    expect(whole(text)).toBe(expected)
  })

  test('a byte order mark makes no other field of the first', () =>
    expect(whole('\ufeffdata: {"a":"x"}\n\n')).toBe(`data: {"a":${shown}}\n\n`))

  test('a list that is left out over several lines leaves whole lines', () =>
    expect(
      JSON.parse(whole('data: {"a":[1,\ndata: 2],\ndata: "b":3}\n\n').replaceAll(/^data: ?/gm, '')),
    ).toEqual({ a: [], b: 3 }))

  test.each(['data: {"b":"x\ndata: y"}\n\n', 'data: {"b":1\n\n', "data: {'a':1}\n\n"])(
    '%j is refused',
    (text) => expect(() => run(text, (bytes) => [bytes])).toThrow('cannot be read as JSON'),
  )

  test('an event leaves as it comes', () => {
    const events = new MaskedEvents(() => stream(fieldsOf('$..a')))
    expect(Buffer.from(events.push(Buffer.from('data: {"a":"x"}\n\n'))).toString()).toBe(
      `data: {"a":${shown}}\n\n`,
    )
  })
})
