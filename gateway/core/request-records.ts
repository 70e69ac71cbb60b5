import type { Observed, Refusal } from '../policy/policy.ts'
import type { Recorder } from '../recording/event.ts'
import type { Gate } from './gate.ts'
import type { Verdict } from './verdict.ts'
import { type Meaning, type Request, shownOperation } from './operation.ts'
import type { Detectors } from './session.ts'

/** Of one parameter; what lies beyond is said in bytes. */
const PARAMETER_CAP = 4096
const HIDDEN = '•••'
const none: readonly never[] = []

/** Puts the requests of one session on record, as they may be shown. */
export class RequestRecords {
  readonly #parts: { readonly gate: Gate; readonly recorder: Recorder; readonly detectors: Detectors }
  /** The record that holds a meaning's text, so that repetition costs a number. */
  readonly #recorded = new WeakMap<Meaning, number>()

  constructor(parts: { readonly gate: Gate; readonly recorder: Recorder; readonly detectors: Detectors }) {
    this.#parts = parts
  }

  /** Records a request with its verdict; gives the `seq` of the record. */
  add(request: Request, verdict: Verdict): number {
    const { recorder } = this.#parts
    const { decision } = verdict
    const { effect, rule } = decision
    const parameters = this.#parameters(request, verdict)
    const same = this.#recorded.get(request.meaning)
    // What nearly all requests are: without the spread, which costs as much as the JSON.
    if (same !== undefined && decision.effect !== 'deny' && decision.observed === undefined)
      return recorder.record({ kind: 'request', same, parameters, effect, rule })
    const outcome = {
      parameters,
      effect,
      rule,
      ...(decision.effect === 'deny' ? { why: decision.why } : wouldOf(decision.observed)),
    }
    if (same !== undefined) return recorder.record({ kind: 'request', same, ...outcome })
    const seq = recorder.record({
      kind: 'request',
      text: this.#text(request, verdict),
      operations: request.meaning.operations.map(shownOperation),
      ...outcome,
    })
    this.#recorded.set(request.meaning, seq)
    return seq
  }

  /** What people are asked: the text, and below it each parameter on a line of its own, whatever is in it. */
  question(request: Request, verdict: Verdict): string {
    const parameters = this.#parameters(request, verdict).map(
      (value, index) => `-- $${index + 1} = ${value === null ? 'NULL' : JSON.stringify(value)}`,
    )
    return [this.#text(request, verdict), ...parameters].join('\n')
  }

  #text(request: Request, verdict: Verdict): string {
    return this.#parts.detectors.redactText(this.#parts.gate.show(request, verdict.masks))
  }

  #parameters(request: Request, verdict: Verdict): readonly (string | null)[] {
    if (request.parameters.length === 0) return none
    return request.parameters.map((value, index) => {
      if (value === null) return null
      if (verdict.hidden[index] ?? verdict.touchesMasked) return HIDDEN
      const kept = Buffer.from(value.buffer, value.byteOffset, Math.min(value.byteLength, PARAMETER_CAP))
      const text = this.#parts.detectors.redactText(kept.toString())
      return value.byteLength > PARAMETER_CAP ? `${text}… (${value.byteLength} bytes)` : text
    })
  }
}

function wouldOf(observed: Observed | undefined): { would?: Refusal } {
  if (observed === undefined) return {}
  const { effect, rule, why } = observed
  return { would: { effect, rule, why } }
}
