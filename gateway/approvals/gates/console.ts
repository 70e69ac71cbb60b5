import type { ApprovalGate } from './gate.ts'

/** The gate of people who look for themselves: `hoop-access approvals` and the gateway's pages read the store, so nothing has to be sent. */
export const consoleGate: ApprovalGate = {
  name: 'console',
  announce: () => Promise.resolve({ handle: '' }),
  conclude: () => Promise.resolve(),
}
