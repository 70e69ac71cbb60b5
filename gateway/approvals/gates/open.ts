import type { Origin } from '../../core/identity.ts'
import type { Config, Secret } from '../../policy/schema.ts'
import type { Account } from '../approval.ts'
import { startersByClaims } from '../people.ts'
import { consoleGate } from './console.ts'
import type { AnswerDesk, ApprovalGate } from './gate.ts'
import type { Hook } from './hook.ts'

/** What gates may use. */
export interface GateTools {
  readonly config: Config
  readonly readSecret: (secret: Secret) => string
  /** Where they hand in answers. */
  readonly desk: AnswerDesk
  readonly log: { warn(fields: object, message: string): void }
}

/** Every gate that this configuration has, and what comes with them. */
export interface OpenGates {
  readonly gates: readonly ApprovalGate[]
  readonly hooks: readonly Hook[]
  /** The accounts that set off a job, beyond those its claims name; rejects with `Refused` when that cannot be told now. */
  readonly startersOf: (origin: Origin) => Promise<readonly Account[]>
}

/** Opens the gates: each is added here, and nowhere else. */
export function openGates(_tools: GateTools): OpenGates {
  return { gates: [consoleGate], hooks: [], startersOf: startersByClaims }
}
