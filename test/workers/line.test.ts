import { expect, test, vi } from 'vitest'
import { ApprovalRefused } from '../../gateway/approvals/approval.ts'
import { GatewayError, Refused } from '../../gateway/core/errors.ts'
import { Line, type Wire } from '../../gateway/workers/line.ts'

interface Sums {
  add(numbers: readonly number[]): Promise<number>
  fail(kind: 'refused' | 'approval' | 'other'): Promise<never>
  wait(value: null): Promise<never>
  note(text: string): void
}

const denied = {
  person: 'alice',
  group: 'dba',
  gate: 'console',
  answer: 'deny',
  reason: 'no',
  at: 1,
} as const

const failures = {
  refused: new Refused('denied', 'rule a/b deny[0] forbids it', 'ask', { rule: 'a/b deny[0]' }),
  approval: new ApprovalRefused('approval_denied', 'alice said no', 'ask again', [denied]),
  other: new TypeError('something inside'),
}

/** Two ends of a channel; `taken` false is one whose other end takes nothing. */
function wires(taken = true): [Wire, Wire] {
  const takers: ((message: unknown, handle: unknown) => void)[] = []
  const end = (other: number): Wire => ({
    send(message, _handle, _options, sent) {
      if (!taken) return
      // Nothing but data crosses.
      const copy: unknown = structuredClone(message)
      setImmediate(() => {
        sent(null)
        takers[other]?.(copy, undefined)
      })
    },
    on: (_event, take) => takers.push(take),
  })
  const [one, other] = [end(1), end(0)]
  return [one, other]
}

/** An end that answers. */
function answer(wire: Wire, calls: object): Line<Record<string, never>> {
  return new Line(wire, calls, () => undefined)
}

function open(noted: string[] = []): Line<Sums> {
  const [here, there] = wires()
  const line = new Line<Sums>(here, {}, () => undefined)
  const sums: Sums = {
    add: (numbers) => Promise.resolve(numbers.reduce((sum, one) => sum + one, 0)),
    fail: (kind) => Promise.reject(failures[kind]),
    wait: () => new Promise(() => undefined),
    note: (text) => void noted.push(text),
  }
  answer(there, sums)
  return line
}

test('what is asked is answered, and what is told arrives before what is asked after it', async () => {
  const noted: string[] = []
  const line = open(noted)
  line.tell('note', 'first')
  expect(await line.ask('add', [1, 2, 3])).toBe(6)
  expect(noted).toEqual(['first'])
})

test('refusals stay what they are, with rule, answers and next step; of others only the message crosses', async () => {
  const line = open()
  await expect(line.ask('fail', 'refused')).rejects.toEqual(failures.refused)
  await expect(line.ask('fail', 'refused')).rejects.toBeInstanceOf(Refused)
  const approval: unknown = await line.ask('fail', 'approval').catch((error: unknown) => error)
  expect(approval).toBeInstanceOf(ApprovalRefused)
  expect(approval).toMatchObject({ code: 'approval_denied', why: 'alice said no', answers: [denied] })
  const other: unknown = await line.ask('fail', 'other').catch((error: unknown) => error)
  expect(other).toBeInstanceOf(GatewayError)
  expect(other).not.toBeInstanceOf(Refused)
  expect(other).toMatchObject({ code: 'internal', message: 'something inside' })
})

test('an answer that does not come is not waited for for ever, nor one of a process that is gone', async () => {
  const line = open()
  await expect(line.ask('wait', null, 50)).rejects.toMatchObject({ code: 'internal' })
  const waiting = line.ask('wait', null)
  line.break()
  await expect(waiting).rejects.toMatchObject({ message: 'the process at the other end is gone' })
  await expect(line.ask('add', [1])).rejects.toMatchObject({ code: 'internal' })
})

test('an end that takes nothing is found to hang before its messages fill the memory', async () => {
  const [here] = wires(false)
  const hung = vi.fn()
  const line = new Line<Sums>(here, {}, hung)
  for (let index = 0; index < 20_000; index++) line.tell('note', 'more')
  expect(hung).not.toHaveBeenCalled()
  line.tell('note', 'one more')
  expect(hung).toHaveBeenCalled()
})

test('what cannot be asked there is refused', async () => {
  const [here, there] = wires()
  const line = new Line<Sums>(here, {}, () => undefined)
  answer(there, {})
  await expect(line.ask('add', [1])).rejects.toMatchObject({ message: 'add cannot be asked here' })
})
