import type { Transaction } from 'kysely'
import { Refused } from '../core/errors.ts'
import { newId } from '../core/id.ts'
import { type Origin, enforcing } from '../core/identity.ts'
import type { StageConfig } from '../policy/schema.ts'
import type { LedgerEvent } from '../recording/event.ts'
import type { Tables } from '../store/schema.ts'
import type { ClientKey } from './client-key.ts'
import { livesOf } from './lifetime.ts'
import type { Connections } from './scope.ts'
import type { Tokens } from './tokens.ts'
import type { LiveIdentity } from './tree.ts'

/** An identity that is about to be. */
export interface Draft {
  readonly parent: LiveIdentity | null
  readonly stageName: string
  readonly stage: StageConfig
  readonly origin: Origin
  readonly connections: Connections
  readonly key: ClientKey
  /** The key by which its holder keeps it alive; null when it needs no holder. */
  readonly lease: ClientKey | null
  readonly auditOnly: boolean
  /** The life that was asked for, in milliseconds; null for the stage's own. */
  readonly life: number | null
}

/**
 * Each identity has a key of its own: throws when one that lives has this key. SSH proves a key and nothing else, so
 * somebody who gave a child another job's public key would take that job's name from it.
 */
export async function assertKeyFree(tx: Transaction<Tables>, key: ClientKey, now: number): Promise<void> {
  const taken = await tx
    .selectFrom('identities')
    .select('id')
    .where('thumbprint', '=', key.thumbprint)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now)
    .executeTakeFirst()
  if (taken === undefined) return
  throw new Refused(
    'invalid_request',
    'the key is refused: another identity has it',
    'make a new key for each identity',
  )
}

/** The row of a new identity, never longer-lived than its parent, with the gateway's statement of it. */
export async function draftRow(draft: Draft, tokens: Tokens, now: number): Promise<Tables['identities']> {
  const { parent, stageName, stage, key, connections } = draft
  const { ttl, max } = livesOf(stage, draft.life)
  const id = newId('idn')
  const statement = await tokens.state({
    id,
    parent: parent?.id ?? null,
    stage: stageName,
    thumbprint: key.thumbprint,
    connections,
    ...(draft.auditOnly && { audit_only: true as const }),
  })
  const renewableUntil = Math.min(now + max, parent?.renewableUntil ?? Number.POSITIVE_INFINITY)
  return {
    id,
    parent: parent?.id ?? null,
    root: rootOf(parent)?.id ?? id,
    stage: stageName,
    origin: JSON.stringify(draft.origin),
    connections: JSON.stringify([...connections]),
    // What only looks on has the rights of the one above, and is not easier to use.
    binding:
      draft.auditOnly && parent !== null && enforcing(parent).binding === 'required'
        ? 'required'
        : stage.binding,
    thumbprint: key.thumbprint,
    public_jwk: JSON.stringify(key.jwk),
    statement,
    created_at: now,
    expires_at: Math.min(now + ttl, renewableUntil, parent?.expiresAt ?? Number.POSITIVE_INFINITY),
    renewable_until: renewableUntil,
    revoked_at: null,
    revoked_why: null,
    audit_only: draft.auditOnly ? 1 : 0,
    lease: draft.lease?.thumbprint ?? null,
  }
}

/**
 * Names a new identity in the ledger. Called last before its row counts: whoever dies or fails in between leaves the name of
 * one that never lived, and never one that lives without a name.
 */
export function noteDraft(
  { id, parent, stage, thumbprint }: Tables['identities'],
  origin: Origin,
  report: (event: LedgerEvent) => void,
): void {
  report({ kind: 'identity', identity: id, parent, stage, origin, thumbprint })
}

/** When an identity ends if it is renewed now: never sooner than it would anyway, never past its parent or what its stage allows today. */
export function renewedExpiry(
  row: Pick<Tables['identities'], 'created_at' | 'expires_at' | 'renewable_until'>,
  stage: StageConfig,
  options: { readonly life: number | null; readonly parentExpiresAt: number | null; readonly now: number },
): number {
  const { ttl, max } = livesOf(stage, options.life)
  const latest = Math.min(
    options.now + ttl,
    row.renewable_until,
    row.created_at + max,
    options.parentExpiresAt ?? Number.POSITIVE_INFINITY,
  )
  return Math.max(row.expires_at, latest)
}

function rootOf(identity: LiveIdentity | null): LiveIdentity | null {
  return identity === null || identity.parent === null ? identity : rootOf(identity.parent)
}
