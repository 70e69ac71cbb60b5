import type { Question } from '../../gateway/approvals/approval.ts'
import { createApprovals } from '../../gateway/approvals/approvals.ts'
import type { ApprovalsOptions, LiveApprovals } from '../../gateway/approvals/live-approvals.ts'
import type { Identity } from '../../gateway/core/identity.ts'
import { type Config, configSchema } from '../../gateway/policy/schema.ts'
import { type Store, openStore } from '../../gateway/store/open.ts'
import { identity } from '../core/doubles.ts'

export const baseConfig = {
  gateway: { url: 'https://hoop.test:8443' },
  people: { alice: { github: 1 }, bob: { github: 2 }, carol: { gitlab: 3 } },
  approvers: {
    dba: { members: ['alice', 'bob'], gates: [{ console: {} }], timeout: '30m' },
    ops: { members: ['carol', 'operator'], gates: [{ console: {} }], timeout: '10m' },
  },
}

export interface Desk {
  readonly approvals: LiveApprovals
  readonly store: Store
  /** Changes what the configuration is from now on. */
  readonly configure: (next: object) => void
}

export async function makeDesk({
  config: first = {},
  ...options
}: Omit<Partial<ApprovalsOptions>, 'config'> & { readonly config?: object } = {}): Promise<Desk> {
  const store = options.store ?? (await openStore(':memory:'))
  let config: Config = configSchema.parse({ ...baseConfig, ...first })
  const approvals = await createApprovals({
    url: 'https://hoop.test:8443',
    ...options,
    store,
    config: () => config,
  })
  return {
    approvals,
    store,
    configure: (next) => {
      config = configSchema.parse({ ...baseConfig, ...next })
    },
  }
}

export function question(fields: Partial<Question> = {}): Question {
  return {
    identity: identity(),
    session: 'ses_a',
    connection: 'orders-db',
    by: ['dba'],
    rule: 'deploy/orders-db approve[0]',
    policy: 'v1',
    masks: [],
    operations: [{ actions: ['drop', 'ddl'], resource: 'public.orders', reads: false }],
    statement: 'DROP TABLE orders',
    digest: 'd'.repeat(64),
    ...fields,
  }
}

export const never = (): AbortSignal => new AbortController().signal

export const approve = (person: string, reason = ''): Parameters<LiveApprovals['answer']>[1] => ({
  person,
  gate: 'console',
  answer: 'approve',
  reason,
})

export const deny = (person: string, reason = ''): Parameters<LiveApprovals['answer']>[1] => ({
  ...approve(person, reason),
  answer: 'deny',
})

/** Puts identities into the store as the exchange would, parents first. */
export async function keep(store: Store, ...nodes: Identity[]): Promise<void> {
  for (const node of nodes) {
    let root = node
    while (root.parent !== null) root = root.parent
    await store.db
      .insertInto('identities')
      .values({
        id: node.id,
        parent: node.parent?.id ?? null,
        root: root.id,
        stage: node.stage,
        origin: JSON.stringify(node.origin),
        connections: JSON.stringify([...node.connections]),
        binding: node.binding,
        thumbprint: node.thumbprint,
        public_jwk: '{}',
        statement: '',
        created_at: Date.now(),
        expires_at: node.expiresAt,
        renewable_until: node.expiresAt,
        revoked_at: null,
        revoked_why: null,
        lease: null,
        audit_only: 0,
      })
      .execute()
  }
}
