import { type Answer, ApprovalRefused } from '../approvals/approval.ts'
import { type Code, GatewayError, Refused } from '../core/errors.ts'

/** An error on its way to another process: what clients and recordings tell apart stays what it is. */
export type PackedError =
  | {
      readonly kind: 'refused'
      readonly code: Code
      readonly why: string
      readonly next: string
      readonly rule: string | undefined
      readonly at: number | undefined
    }
  | {
      readonly kind: 'approval-refused'
      readonly code: 'approval_denied' | 'approval_expired' | 'approval_withdrawn'
      readonly why: string
      readonly next: string
      readonly answers: readonly Answer[]
    }
  | { readonly kind: 'failed'; readonly code: Code; readonly message: string }

export function packError(error: unknown): PackedError {
  if (error instanceof ApprovalRefused) {
    const { code, why, next, answers } = error
    if (code === 'approval_denied' || code === 'approval_expired' || code === 'approval_withdrawn')
      return { kind: 'approval-refused', code, why, next, answers }
  }
  if (error instanceof Refused) {
    const { code, why, next, rule, at } = error
    return { kind: 'refused', code, why, next, rule, at }
  }
  if (error instanceof GatewayError) return { kind: 'failed', code: error.code, message: error.message }
  return { kind: 'failed', code: 'internal', message: error instanceof Error ? error.message : String(error) }
}

export function unpackError(packed: PackedError): GatewayError {
  switch (packed.kind) {
    case 'refused': {
      const { code, why, next, rule, at } = packed
      return new Refused(code, why, next, { rule, at })
    }
    case 'approval-refused':
      return new ApprovalRefused(packed.code, packed.why, packed.next, packed.answers)
    case 'failed':
      return new GatewayError(packed.code, packed.message)
  }
}
