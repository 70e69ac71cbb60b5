import { describe, expect, test } from 'vitest'
import { Gate } from '../../gateway/core/gate.ts'
import { identity, meaning, operation, policy } from './doubles.ts'

const key = new Uint8Array(32).fill(7)
const email = { name: 'pii', with: 'partial' } as const
const hidden = { name: 'secret', with: 'redact' } as const

describe('admitting', () => {
  test('a connection that any level lacks is refused, with the same answer as one that does not exist', () => {
    const gate = new Gate(() => policy({}), key)
    const parent = identity({ connections: new Map() })
    const child = identity({ parent })
    const missing = catchError(() => gate.admit(child, 'orders-db'))
    const unknown = catchError(() => gate.admit(identity(), 'nowhere'))
    expect(missing).toMatchObject({ code: 'unknown_connection' })
    expect(unknown).toMatchObject({ code: 'unknown_connection' })
  })
})

describe('judging', () => {
  const gate = new Gate(
    () => policy({ select: 'allow', probe: 'deny' }, { 'public.c.email': email, 'public.c.*': hidden }),
    key,
  )
  const grant = gate.admit(identity(), 'orders-db')

  test('the strictest mask of the columns a value may come from is the one that applies', () => {
    const verdict = gate.judge(
      grant,
      meaning({
        operations: [operation('select', 'public.c', true)],
        relations: ['public.c'],
        results: [{ columns: [['public.c.id'], ['public.c.email'], ['public.c.email', 'public.c.*']] }],
      }),
    )
    expect(verdict.results).toMatchObject([{ columns: [null, email, hidden] }])
    expect(verdict).toMatchObject({ touchesMasked: true, reads: true, decision: { effect: 'allow' } })
  })

  test('a result without masked columns costs nothing', () => {
    const verdict = gate.judge(grant, meaning({ results: [{ columns: [['public.c.id']] }, null] }))
    expect(verdict.results).toEqual([{ columns: [null], rest: null, count: 1 }, null])
  })

  test('columns that the text did not show are masked where any mask is near', () => {
    const column = (fields: Parameters<typeof meaning>[0], index: number): unknown =>
      gate.permit({}, gate.judge(grant, meaning(fields))).maskAt(0, index)
    expect(column({ results: [{ columns: [], rest: ['public.c.email'] }] }, 3)).toEqual(email)
    expect(column({ results: [{ columns: [] }], relations: ['public.c'] }, 3)).toMatchObject({
      name: 'unknown',
    })
    expect(column({ results: [{ columns: [] }], relations: ['public.d'] }, 3)).toBeNull()
    expect(column({ results: [null], relations: ['public.c'] }, 0)).toMatchObject({ name: 'unknown' })
  })

  test('a masked column in a condition needs a rule for probing it, another does not', () => {
    const operations = [operation('select', 'public.c', true)]
    expect(gate.judge(grant, meaning({ operations, probes: ['public.c.email'] })).decision.effect).toBe(
      'deny',
    )
    expect(gate.judge(grant, meaning({ operations, probes: ['public.c.id'] })).decision.effect).toBe('allow')
  })
})

describe('showing', () => {
  const gate = new Gate(() => policy({}, { 'public.c.email': email }), key)
  const masks = gate.admit(identity(), 'orders-db').masks
  const text = "update c set email = 'a@b.c', name = 'x' where id = 1"

  test('values that meet a masked column are gone, the others stay', () => {
    const spans = [
      { start: 37, end: 40, columns: ['public.c.name'], secret: false },
      { start: 21, end: 28, columns: ['public.c.email'], secret: false },
    ]
    expect(gate.show({ text, parameters: [], meaning: meaning({ spans }) }, masks)).toBe(
      "update c set email = '•••', name = 'x' where id = 1",
    )
  })

  test('spans that overlap hide all that any of them covers', () => {
    const spans = [
      { start: 21, end: 28, columns: [], secret: true },
      { start: 25, end: 40, columns: [], secret: true },
    ]
    expect(gate.show({ text, parameters: [], meaning: meaning({ spans }) }, masks)).toBe(
      "update c set email = '•••''•••' where id = 1",
    )
  })
})

describe('the digest that an approval is bound to', () => {
  const gate = new Gate(() => policy({}), key)
  const digest = (text: string, ...parameters: (string | null)[]): string =>
    gate.digest({
      text,
      meaning: meaning(),
      parameters: parameters.map((value) => (value === null ? null : Buffer.from(value))),
    })

  test('differs with text, parameters, their split and NULL', () => {
    const digests = [
      digest('a'),
      digest('a', ''),
      digest('a', null),
      digest('a', 'bc'),
      digest('a', 'b', 'c'),
      digest('ab', 'c'),
      digest('b'),
    ]
    expect(new Set(digests).size).toBe(digests.length)
    expect(digest('a', 'bc')).toBe(digests[3])
  })

  test('differs with the key, so that nobody can try values against it', () => {
    const other = new Gate(() => policy({}), new Uint8Array(32))
    const request = { text: 'a', meaning: meaning(), parameters: [] }
    expect(other.digest(request)).not.toBe(gate.digest(request))
  })
})

function catchError(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  return null
}
