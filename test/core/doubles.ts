import type { Identity } from '../../gateway/core/identity.ts'
import type { Meaning, Operation } from '../../gateway/core/operation.ts'
import type { Decision, Mask, Policy } from '../../gateway/policy/policy.ts'

/** An identity of one level, alive for an hour. */
export function identity(fields: Partial<Identity> = {}): Identity {
  return {
    id: 'idn_aaaaaaaaaaaaaaaaaaaaaaaaaa',
    stage: 'deploy',
    parent: null,
    origin: {
      issuer: 'github',
      platform: 'github',
      claims: { repository: 'acme/shop', actor: 'octocat', actor_id: '583231' },
      url: null,
    },
    connections: new Map([['orders-db', null]]),
    binding: 'required',
    auditOnly: false,
    thumbprint: 'thumbprint',
    expiresAt: Date.now() + 3_600_000,
    ended: new AbortController().signal,
    ...fields,
  }
}

export function meaning(fields: Partial<Meaning> = {}): Meaning {
  return { operations: [], relations: [], results: [], probes: [], spans: [], parameters: [], ...fields }
}

export function operation(action: string, resource: string, reads = false): Operation {
  return { actions: [action], resource, reads }
}

/** A policy with one PostgreSQL connection, `orders-db`, that decides by the first operation's action. */
export function policy(
  effects: Record<string, Decision['effect']>,
  masked: Record<string, Mask> = {},
): Policy {
  return {
    version: 'v1',
    connection: (name) =>
      name === 'orders-db'
        ? { type: 'postgres', host: 'db.internal', port: 5432, database: 'shop', tls: 'verify-full' }
        : null,
    levels: (chain) =>
      chain.map(({ stage, narrowed }) => ({
        stage,
        grant: { connection: 'orders-db' },
        narrowed,
        observed: false,
      })),
    looksIntoBody: () => false,
    decide: (_levels, operations) => {
      const rule = 'deploy/orders-db rule[0]'
      for (const operation of operations) {
        const effect = effects[operation.actions[0]] ?? 'deny'
        if (effect === 'deny')
          return { effect, rule, operation, why: `${operation.actions[0]} is denied`, next: 'ask' }
        if (effect === 'approve') return { effect, rule, by: ['dba'], operation }
      }
      return { effect: 'allow', rule }
    },
    breach: () => null,
    terms: () => 'v1',
    masks: () => ({
      of: (column) => masked[column] ?? null,
      fields: [],
      refusesUnproven: () => false,
      touches: (relation) => Object.keys(masked).some((column) => column.startsWith(`${relation}.`)),
    }),
  }
}
