import type { Transaction } from 'kysely'
import { Refused } from '../core/errors.ts'
import type { Tables } from '../store/schema.ts'
import { matchStage } from './claims.ts'
import { type ClientKey, sameText } from './client-key.ts'
import { assertKeyFree, draftRow, noteDraft, renewedExpiry } from './draft.ts'
import type { Concerned, ExchangeTools } from './exchange.ts'
import { type ExchangeForm, type ExchangeRequest, badRequest, checkLease } from './exchange-request.ts'
import type { PlatformToken } from './issuers.ts'
import { jobKey, originOf } from './job.ts'
import { type Connections, grantRoot, sameConnections } from './scope.ts'
import { type LiveIdentity, endedIdentity, expiredIdentity, missingIdentity } from './tree.ts'

/** The one root identity of the job that a platform's token is of: made at first, the same one when the same key asks again. */
export async function becomeRoot(
  tools: ExchangeTools,
  form: ExchangeForm,
  request: ExchangeRequest,
  concerned: Concerned,
): Promise<LiveIdentity> {
  const token = await tools.issuers.verify(form.subjectToken)
  const key = await proveNewKey(tools, form, request)
  checkLease(form, key.thumbprint)
  if (form.auditOnly) throw badRequest('only a child can be audit_only: somebody has to decide')
  const stageName = form.asked.stage
  if (stageName === null) throw badRequest('scope names no stage')
  const { stage, reviewed } = matchStage(tools.config(), stageName, token)
  const connections = grantRoot(stageName, stage, form.asked)
  const now = tools.now()
  const known = originOf(token)
  const origin = reviewed ? { ...known, claims: { ...known.claims, ...(await tools.review(token)) } } : known
  const draft = await draftRow(
    {
      parent: null,
      stageName,
      stage,
      origin,
      connections,
      key,
      lease: form.lease,
      auditOnly: false,
      life: form.life,
    },
    tools.tokens,
    now,
  )
  const placed = await tools.store.transaction(async (tx) => {
    const row = await findRow(tx, { token, key, concerned })
    if (row === null) {
      await assertKeyFree(tx, key, now)
      await tx.insertInto('identities').values(draft).execute()
      await tx
        .insertInto('jobs')
        .values({ key: jobKey(token), identity: draft.id, created_at: now })
        .execute()
      await noteToken(tx, token, draft)
      noteDraft(draft, origin, tools.report)
      return { id: draft.id, expiresAt: draft.expires_at, made: true }
    }
    if (row.lease !== (form.lease?.thumbprint ?? null))
      throw badRequest('lease_jwk is not the key of the first time')
    assertSame(row, { stageName, connections: form.asked.connections })
    const expiresAt = renewedExpiry(row, stage, { life: form.life, parentExpiresAt: null, now })
    if (expiresAt <= now) throw expiredIdentity(row.id, row.expires_at)
    await tx.updateTable('identities').set({ expires_at: expiresAt }).where('id', '=', row.id).execute()
    await noteToken(tx, token, row)
    return { id: row.id, expiresAt, made: false }
  })
  concerned.identity = placed.id
  const identity = await tools.tree.load(placed.id)
  if (identity === null) throw missingIdentity(placed.id)
  identity.prolong(placed.expiresAt)
  if (placed.made) tools.made(identity)
  return identity
}

/** A platform's token names no key, so whoever brings it must prove the one it is to be good for. */
async function proveNewKey(
  tools: ExchangeTools,
  form: ExchangeForm,
  request: ExchangeRequest,
): Promise<ClientKey> {
  if (request.dpop === null) {
    const { handshakeKey = null } = request
    // The handshake has proved it, whoever signed the certificate (RFC 8705 §2.2).
    if (form.key !== null && form.key.thumbprint === handshakeKey?.thumbprint) return form.key
    throw new Refused(
      'invalid_proof',
      'the key of the identity is not proved',
      'send a DPoP proof (RFC 9449) signed with the key that the identity is to have, or cnf_jwk over TLS with any client certificate of that key',
    )
  }
  const proof = await tools.proofs.verify(request.dpop, {
    method: request.method,
    url: request.url,
    token: form.subjectToken,
    presented: false,
  })
  if (form.key !== null && form.key.thumbprint !== proof.key.thumbprint) {
    throw badRequest('cnf_jwk is not the key that signed the DPoP proof')
  }
  await tools.proofs.spend(proof)
  return proof.key
}

/** The identity that this token or its job has already; throws when that has another key, or is over. */
async function findRow(
  tx: Transaction<Tables>,
  { token, key, concerned }: { token: PlatformToken; key: ClientKey; concerned: Concerned },
): Promise<Tables['identities'] | null> {
  const used = await tx
    .selectFrom('platform_tokens')
    .selectAll()
    .where('digest', '=', token.digest)
    .executeTakeFirst()
  const job = await tx
    .selectFrom('jobs')
    .select('identity')
    .where('key', '=', jobKey(token))
    .executeTakeFirst()
  const id = used?.identity ?? job?.identity
  if (id === undefined) return null
  concerned.identity = id
  const row = await tx.selectFrom('identities').selectAll().where('id', '=', id).executeTakeFirst()
  for (const thumbprint of [used?.thumbprint, row?.thumbprint]) {
    if (thumbprint === undefined || sameText(thumbprint, key.thumbprint)) continue
    throw new Refused(
      'token_reused',
      `${used === undefined ? 'this job' : 'this ID token'} already has identity ${id}, with another key`,
      'use the identity that the job has, or a child of it; if the job did not ask for it, its token was stolen: revoke the identity',
    )
  }
  if (row === undefined) throw expiredIdentity(id, token.expiresAt)
  if (row.revoked_at !== null) throw endedIdentity(id)
  return row
}

/** A repeated exchange is for a lost answer or a longer life, never for something else. */
function assertSame(
  row: Tables['identities'],
  { stageName, connections }: { stageName: string; connections: Connections | null },
): void {
  const held: Connections = new Map(JSON.parse(row.connections))
  if (row.stage === stageName && (connections === null || sameConnections(held, connections))) return
  throw new Refused(
    'invalid_scope',
    `this job already has identity ${row.id} of stage ${row.stage} with other connections or another stage`,
    'ask for all that the job needs at once, and for narrower children of it',
  )
}

async function noteToken(
  tx: Transaction<Tables>,
  token: PlatformToken,
  identity: Pick<Tables['identities'], 'id' | 'thumbprint'>,
): Promise<void> {
  await tx
    .insertInto('platform_tokens')
    .values({
      digest: token.digest,
      thumbprint: identity.thumbprint,
      identity: identity.id,
      expires_at: token.expiresAt,
    })
    .onConflict((conflict) => conflict.column('digest').doNothing())
    .execute()
}
