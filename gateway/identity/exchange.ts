import { decodeJwt } from 'jose'
import type { TokenAnswer } from '../core/contract.ts'
import { Refused } from '../core/errors.ts'
import type { Config } from '../policy/schema.ts'
import type { LedgerEvent } from '../recording/event.ts'
import type { Store } from '../store/open.ts'
import { delegate } from './child.ts'
import type { Proofs } from './dpop.ts'
import { type ExchangeForm, type ExchangeRequest, badRequest, readExchange } from './exchange-request.ts'
import type { Issuers } from './issuers.ts'
import type { Keys } from './keys.ts'
import type { Recognition } from './recognition.ts'
import type { Review } from './reviewed.ts'
import { becomeRoot } from './root.ts'
import { writeScope } from './scope.ts'
import type { Tokens } from './tokens.ts'
import type { LiveIdentity, Tree } from './tree.ts'

/** What an exchange works with. */
export interface ExchangeTools {
  readonly config: () => Config
  readonly keys: Keys
  readonly store: Store
  readonly tree: Tree
  readonly tokens: Tokens
  readonly issuers: Issuers
  readonly proofs: Proofs
  /** Who let the job into its environment, for stages that want it reviewed. */
  readonly review: Review
  readonly now: () => number
  readonly report: (event: LedgerEvent) => void
  /** Called once for each identity that is new. */
  readonly made: (identity: LiveIdentity) => void
  readonly recognition: Pick<Recognition, 'byCertificate' | 'byToken' | 'bindingOf'>
}

/** The identity that a request turned out to be about, for the record of its refusal. */
export interface Concerned {
  identity: string | null
}

/** Answers a token exchange (RFC 8693): a platform's token for a job's root identity, an identity's own for a child or a longer life. Rejects with `Refused`, which is reported. */
export async function exchange(tools: ExchangeTools, request: ExchangeRequest): Promise<TokenAnswer> {
  const concerned: Concerned = { identity: null }
  try {
    const form = readExchange(request.form, tools.config().gateway.url)
    const identity = isOwn(form, tools.config().gateway.url)
      ? await delegate(tools, form, request, concerned)
      : await becomeRoot(tools, form, request, concerned)
    identity.assertAlive(tools.now())
    return await answerWith(tools, identity)
  } catch (error) {
    if (error instanceof Refused) {
      tools.report({
        kind: 'refused',
        protocol: 'https',
        code: error.code,
        why: error.why,
        client: request.client ?? null,
        identity: concerned.identity,
      })
    }
    throw error
  }
}

/** Only says which verification comes next: a token that lies here fails there. */
function isOwn(form: ExchangeForm, gatewayUrl: string): boolean {
  let own: boolean
  try {
    own = decodeJwt(form.subjectToken).iss === gatewayUrl
  } catch {
    // Not a JWT at all: the verification that the client meant says so.
    own = form.subject === 'own'
  }
  if (form.subject === 'own' && !own) throw badRequest('subject_token is not an access token of this gateway')
  if (form.subject === 'platform' && own)
    throw badRequest('subject_token is an access token, not an ID token')
  return own
}

async function answerWith(tools: ExchangeTools, identity: LiveIdentity): Promise<TokenAnswer> {
  return {
    access_token: await tools.tokens.sign(identity),
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: tools.recognition.bindingOf(identity) === 'token' ? 'Bearer' : 'DPoP',
    expires_in: Math.max(0, Math.floor((identity.expiresAt - tools.now()) / 1000)),
    scope: writeScope(identity.stage, identity.connections),
    client_certificate: await tools.keys.clientCertificate({
      identityId: identity.id,
      stage: identity.stage,
      publicJwk: JSON.parse(identity.publicJwk),
      notAfter: identity.expiresAt,
    }),
    identity: identity.id,
  }
}
