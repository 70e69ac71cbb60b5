import { printable } from '../../client/error.ts'
import type { ActivityView, ApprovalView } from '../../client/exchange.ts'

/** One annotation of the job: who let a held request go on, or why nobody did. */
export interface Annotation {
  readonly level: 'notice' | 'warning'
  readonly text: string
}

/** GitHub shows ten of a level and step. */
const MOST = 10

/** What people answered to the job's held requests, those first that did not pass. */
export function annotate({ approvals }: ActivityView): readonly Annotation[] {
  const all = approvals.map(annotationOf)
  return (['warning', 'notice'] as const).flatMap((level) =>
    all.filter((annotation) => annotation.level === level).slice(0, MOST),
  )
}

function annotationOf(approval: ApprovalView): Annotation {
  const { id, state, connection, operations, answers, gates, url } = approval
  const passed = state === 'approved' || state === 'used'
  const what = operations.map(({ action, resource }) => `${action} ${resource}`.trim()).join(', ')
  const people = answers.map(({ person, reason }) => (reason === '' ? person : `${person} (${reason})`))
  const failures = gates.flatMap(({ gate, failure }) => (failure === null ? [] : [`${gate}: ${failure}`]))
  const parts = [
    `${id}: ${what} on ${connection} ${passed ? 'was approved' : `is ${state}`}`,
    people.length === 0 ? '' : ` by ${people.join(', ')}`,
    passed || failures.length === 0 ? '' : `; ${failures.join('; ')}`,
    `: ${url}`,
  ]
  return { level: passed ? 'notice' : 'warning', text: printable(parts.join('')) }
}
