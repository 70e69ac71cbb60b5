import type { ApprovalView } from '../../gateway/core/contract.ts'

/** A held request as the gateway shows it. */
export function approvalView(fields: Partial<ApprovalView> = {}): ApprovalView {
  return {
    id: 'apr_1',
    state: 'pending',
    connection: 'orders-db',
    identity: 'deploy (idn_1)',
    chain: [{ id: 'idn_1', stage: 'deploy' }],
    run: null,
    operations: [{ action: 'drop', resource: 'public.legacy' }],
    statement: 'DROP TABLE legacy',
    masks: [],
    digest: 'd'.repeat(64),
    requested_at: new Date().toISOString(),
    expires_at: '2026-01-01T12:34:56.000Z',
    by: ['dba'],
    groups: [
      { name: 'dba', people: ['alice'], required: 1, missing: 1, reason: 'optional', break_glass: null },
    ],
    rule: 'deploy/orders-db approve[0]',
    policy: 'v1',
    reach: 'once',
    url: 'https://hoop.example/approvals/apr_1',
    gates: [],
    alarms: [],
    answers: [],
    ...fields,
  }
}

/** Somebody's approval of it. */
export const approvedBy = (person: string, reason: string): ApprovalView['answers'][number] => ({
  person,
  group: 'dba',
  gate: 'console',
  answer: 'approve',
  reason,
  at: '',
  break_glass: false,
})
