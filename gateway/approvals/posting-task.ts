import { z } from 'zod'
import { Refused } from '../core/errors.ts'
import { TryLater } from '../platforms/call.ts'
import { gateSchema } from '../policy/schema-people.ts'
import type { Glass } from './approval.ts'
import type { ApprovalGate, GateEntry, Posting } from './gates/gate.ts'
import type { PostingRow } from './posting-rows.ts'

/** One thing to be told at one place: a question and what becomes of it, or an alarm. */
export interface Task {
  readonly delivery: string
  readonly approval: string
  readonly place: string
  readonly entry: GateEntry
  readonly name: string
  readonly groups: readonly string[]
  readonly gate: ApprovalGate
  /** What the alarm is about; null for a question. */
  readonly glass: Glass | null
  handle: string | null
  /** When it was put up without an answer to say so; milliseconds since the epoch. */
  triedAt: number | null
  over: boolean
  /** True when something happened since the last attempt began. */
  nudged: boolean
  /** Ends the wait between two attempts. */
  wake: () => void
  /** What went wrong last: told once, however often it goes wrong again. */
  failure: string | null
}

const namesSchema = z.array(z.string())
const entrySchema = z.union([gateSchema, z.strictObject({ ledger: z.object({}) })])
const glassSchema = z.object({ person: z.string(), gate: z.string(), reason: z.string(), at: z.number() })

/** What a row of the store asks for; null where there is no such gate. */
export function taskOf(row: PostingRow, gates: ReadonlyMap<string, ApprovalGate>): Task | null {
  const { delivery, approval, place, gate: name, handle, failure, tried_at: triedAt } = row
  const gate = gates.get(name)
  const entry = entrySchema.safeParse(JSON.parse(place))
  if (gate === undefined || !entry.success) return null
  return {
    delivery,
    approval,
    place,
    entry: entry.data,
    name,
    groups: namesSchema.parse(JSON.parse(row.groups)),
    gate,
    glass: row.glass === null ? null : glassSchema.parse(JSON.parse(row.glass)),
    handle,
    triedAt,
    over: false,
    nudged: false,
    wake: () => undefined,
    failure,
  }
}

/** Has it go on now, whatever it waits for. */
export function nudge(task: Task): void {
  task.nudged = true
  task.wake()
}

/** Tells the alarm once. */
export async function warn({ gate, glass, delivery }: Task, posting: Posting): Promise<void> {
  if (glass !== null) await gate.alarm?.({ ...posting, glass, delivery })
}

/** True when an attempt has surely done nothing: the platform said no. One that was not heard, or not understood, may have. */
export function isUndone(error: unknown): boolean {
  if (error instanceof TryLater) return error.undone
  return error instanceof Refused && error.code !== 'upstream_untrusted'
}
