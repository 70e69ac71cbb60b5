import { Refused } from '../core/errors.ts'
import { chainOf, enforcing } from '../core/identity.ts'
import type { StageConfig } from '../policy/schema.ts'
import { type ClientKey, sameText } from './client-key.ts'
import { assertKeyFree, draftRow, noteDraft, renewedExpiry } from './draft.ts'
import type { Concerned, ExchangeTools } from './exchange.ts'
import { type ExchangeForm, type ExchangeRequest, badRequest, checkLease } from './exchange-request.ts'
import { delegatedStage, grantChild, sameConnections } from './scope.ts'
import { type LiveIdentity, endedIdentity, missingIdentity } from './tree.ts'

/** Levels of delegation, the root included. */
const MAX_DEPTH = 5
/** Identities that may live at once in one job's tree. */
const MAX_LIVE_IN_TREE = 1000

/** What an identity's own token is exchanged for: a child with the key given, or without another key a longer life. */
export async function delegate(
  tools: ExchangeTools,
  form: ExchangeForm,
  request: ExchangeRequest,
  concerned: Concerned,
): Promise<LiveIdentity> {
  const self = await tools.recognition.byToken(form.subjectToken)
  concerned.identity = self.id
  await proveSelf(tools, self, form, request)
  self.assertAlive(tools.now())
  const { key } = form
  checkLease(form, key?.thumbprint ?? self.thumbprint)
  return key === null || sameText(key.thumbprint, self.thumbprint)
    ? renew(tools, self, form)
    : makeChild(tools, self, { ...form, key })
}

/** Whatever the stage's binding: who found only the token can neither renew nor delegate. */
async function proveSelf(
  tools: ExchangeTools,
  self: LiveIdentity,
  form: ExchangeForm,
  request: ExchangeRequest,
): Promise<void> {
  if (request.dpop !== null) {
    const proof = await tools.proofs.verify(request.dpop, {
      method: request.method,
      url: request.url,
      token: form.subjectToken,
      presented: true,
    })
    if (!sameText(proof.key.thumbprint, self.thumbprint)) {
      throw new Refused(
        'invalid_proof',
        `the proof is not signed with the key of identity ${self.id}`,
        'sign the DPoP proof with the key of the identity whose token is exchanged',
      )
    }
    await tools.proofs.spend(proof)
    return
  }
  const { clientCertificateDer } = request
  if (
    clientCertificateDer !== null &&
    (await tools.recognition.byCertificate(clientCertificateDer)).id === self.id
  )
    return
  throw new Refused(
    'invalid_proof',
    `the key of identity ${self.id} is not proved`,
    'send a DPoP proof (RFC 9449) signed with its key, or connect with its client certificate',
  )
}

async function renew(tools: ExchangeTools, self: LiveIdentity, form: ExchangeForm): Promise<LiveIdentity> {
  const { stage: stageName, connections } = form.asked
  if (
    (stageName !== null && stageName !== self.stage) ||
    (connections !== null && !sameConnections(self.connections, connections))
  ) {
    throw new Refused(
      'invalid_scope',
      'a renewal keeps the scope as it is',
      'leave scope out to renew; for a narrower child send cnf_jwk with a new key',
    )
  }
  if (form.lease !== null && form.lease.thumbprint !== self.lease) {
    throw badRequest('a renewal changes no lease')
  }
  if (form.auditOnly) throw badRequest('a renewal makes nothing audit_only')
  const stage = stageOf(tools, self)
  const expiresAt = await tools.store.transaction(async (tx) => {
    const row = await tx.selectFrom('identities').selectAll().where('id', '=', self.id).executeTakeFirst()
    if (row === undefined || row.revoked_at !== null) throw endedIdentity(self.id)
    const parentExpiresAt = self.parent?.expiresAt ?? null
    const renewed = renewedExpiry(row, stage, { life: form.life, parentExpiresAt, now: tools.now() })
    await tx.updateTable('identities').set({ expires_at: renewed }).where('id', '=', self.id).execute()
    return renewed
  })
  self.prolong(expiresAt)
  return self
}

/** The stage as it is configured now; throws when it is gone, or no longer delegated. */
function stageOf(tools: ExchangeTools, self: LiveIdentity): StageConfig {
  const above = self.parent === null ? self : enforcing(self.parent)
  return delegatedStage(tools.config(), above.stage, self.stage)
}

async function makeChild(
  tools: ExchangeTools,
  parent: LiveIdentity,
  form: ExchangeForm & { readonly key: ClientKey },
): Promise<LiveIdentity> {
  if (chainOf(parent).length >= MAX_DEPTH) {
    throw new Refused(
      'denied',
      `identity ${parent.id} is at level ${MAX_DEPTH}, the last that may exist`,
      'nest fewer agents, or let this one do the work itself',
    )
  }
  const stageName = form.asked.stage ?? parent.stage
  // A level that only looks on hands on nothing of its own.
  const above = enforcing(parent)
  const stage = delegatedStage(tools.config(), above.stage, stageName)
  const connections = grantChild(above, stageName, stage, form.asked)
  const now = tools.now()
  const draft = await draftRow(
    {
      parent,
      stageName,
      stage,
      origin: parent.origin,
      connections,
      key: form.key,
      lease: form.lease,
      auditOnly: form.auditOnly,
      life: form.life,
    },
    tools.tokens,
    now,
  )
  await tools.store.transaction(async (tx) => {
    const above = await tx
      .selectFrom('identities')
      .select('revoked_at')
      .where('id', '=', parent.id)
      .executeTakeFirst()
    if (above === undefined || above.revoked_at !== null) throw endedIdentity(parent.id)
    const { count } = await tx
      .selectFrom('identities')
      .select((select) => select.fn.countAll().as('count'))
      .where('root', '=', draft.root)
      .where('revoked_at', 'is', null)
      .where('expires_at', '>', now)
      .executeTakeFirstOrThrow()
    await assertKeyFree(tx, form.key, now)
    if (Number(count) >= MAX_LIVE_IN_TREE) {
      throw new Refused(
        'overloaded',
        `this job has ${MAX_LIVE_IN_TREE} identities that live, which is all it may have`,
        'close identities that are done, or give them a shorter ttl',
      )
    }
    await tx.insertInto('identities').values(draft).execute()
    noteDraft(draft, parent.origin, tools.report)
  })
  const child = await tools.tree.load(draft.id)
  if (child === null) throw missingIdentity(draft.id)
  tools.made(child)
  return child
}
