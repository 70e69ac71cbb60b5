import { expect, test } from 'vitest'
import { CopyMasker } from '../../../gateway/protocols/postgres/copy-rows.ts'
import type { CopyForm } from '../../../gateway/sql/analyzer.ts'

const form: CopyForm = {
  format: 'text',
  delimiter: '\t',
  quote: '"',
  escape: '"',
  empty: '\\N',
  header: false,
  columns: [true, true],
}
const plan = [null, { mask: { name: 'pii', with: 'redact' as const }, textual: true }]
const tools = {
  // Shows what the masker took the value to be.
  maskValue: (_: unknown, value: Uint8Array) => Buffer.from(`<${Buffer.from(value).toString()}>`),
  redact: () => null,
  masked: () => undefined,
}

/** The masked whole, given in pieces cut at `at`. */
function mask(given: Partial<CopyForm>, data: Buffer, at: number): string {
  const masker = new CopyMasker({ ...form, ...given }, plan, tools)
  const out = Buffer.concat([masker.push(data.subarray(0, at)), masker.push(data.subarray(at))])
  masker.end()
  return out.toString('latin1')
}

const csv = { format: 'csv', delimiter: ',', empty: '' } as const
const tuple = (...values: (string | null)[]): Buffer =>
  Buffer.concat(
    values.flatMap((value) => {
      const length = Buffer.alloc(4)
      length.writeInt32BE(value === null ? -1 : Buffer.byteLength(value))
      return value === null ? [length] : [length, Buffer.from(value)]
    }),
  )
const two = Buffer.of(0, 2)
const head = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
const end = Buffer.of(0xff, 0xff)

test.each<[string, Partial<CopyForm>, Buffer, string]>([
  ['text', {}, Buffer.from('a\tb\nc\t\\N\n'), 'a\t<b>\nc\t\\N\n'],
  ['text with escapes', {}, Buffer.from('\\t\ta\\\\b\\nc\\\td\n'), '\\t\t<a\\\\b\\nc\\td>\n'],
  ['text with another delimiter', { delimiter: '|' }, Buffer.from('a\\|b|c\\|d\n'), 'a\\|b|<c\\|d>\n'],
  ['csv', csv, Buffer.from('a,b\n"x,\ny",\n'), 'a,"<b>"\n"x,\ny",\n'],
  ['csv with quotes', csv, Buffer.from('a,"b ""c"", \n,"\n'), 'a,"<b ""c"", \n,>"\n'],
  ['csv with an empty text', csv, Buffer.from('a,""\n'), 'a,"<>"\n'],
  ['csv with another escape', { ...csv, escape: '\\' }, Buffer.from('a,"b\\"c\\\\"\n'), 'a,"<b\\"c\\\\>"\n'],
  [
    'csv with a header',
    { ...csv, header: true },
    Buffer.from('id,"e,mail"\n1,b\n'),
    'id,"e,mail"\n1,"<b>"\n',
  ],
  [
    'binary',
    { format: 'binary' },
    Buffer.concat([head, two, tuple('a', 'b'), two, tuple(null, null), end]),
    Buffer.concat([head, two, tuple('a', '<b>'), two, tuple(null, null), end]).toString('latin1'),
  ],
])('%s is masked wherever it is cut', (_, given, data, wanted) => {
  for (let at = 0; at <= data.length; at++) expect(mask(given, data, at), `cut at ${at}`).toBe(wanted)
})

test.each<[string, Partial<CopyForm>, Buffer]>([
  ['one column too few', {}, Buffer.from('a\n')],
  ['one column too many', {}, Buffer.from('a\tb\tc\n')],
  ['a row that does not end', {}, Buffer.from('a\tb')],
  ['a quote that does not end', csv, Buffer.from('a,"b\n')],
  ['a row over its cap', {}, Buffer.alloc(17 * 1024 * 1024, 'a')],
  ['no signature', { format: 'binary' }, Buffer.concat([two, tuple('a', 'b'), end, Buffer.alloc(20)])],
  ['a tuple of another size', { format: 'binary' }, Buffer.concat([head, two, tuple('a'), end])],
  ['no trailer', { format: 'binary' }, Buffer.concat([head, two, tuple('a', 'b')])],
  ['more after the trailer', { format: 'binary' }, Buffer.concat([head, end, two, tuple('a', 'b')])],
])('data that is not as it was announced is not passed on: %s', (_, given, data) => {
  expect(() => mask(given, data, data.length)).toThrow(/COPY data/)
})
