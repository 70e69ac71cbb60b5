import type { ApprovalView, ObservedView } from '../gateway/core/contract.ts'

/** Tells one line to people, on standard error; `about` is for programs, which read what it is about instead. */
export type Tell = (
  line: string,
  about?: { readonly approval: ApprovalView } | { readonly observed: ObservedView },
) => void
