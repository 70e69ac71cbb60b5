import * as oauth from 'oauth4webapi'
import { Refused } from '../core/errors.ts'
import { OutgoingError, type Resolve, sendOutside } from '../identity/outgoing.ts'
import type { Config, Secret } from '../policy/schema.ts'

const TIMEOUT_MS = 10_000
const MAX_BYTES = 256 * 1024
/** Metadata and keys are read anew after this long. */
const FRESH_MS = 600_000
const SCOPE = 'openid email profile'

/** What ties an answer of the issuer to the browser that asked: each used once. */
export interface Challenge {
  readonly state: string
  readonly nonce: string
  /** RFC 7636 §4.1. */
  readonly verifier: string
}

/** Who the issuer says that somebody is: the claims of a verified ID token, with those of UserInfo where it is short. */
export interface Said {
  readonly sub: string
  readonly claims: Readonly<Record<string, unknown>>
}

/** The OIDC issuer of `console.login`. */
export interface Provider {
  /** Where the browser is sent. Rejects with `Refused` `issuer_unavailable`. */
  begin(challenge: Challenge): Promise<string>
  /** Trades the answer in the query for who it is about. Rejects with `Refused`: `denied` when the issuer or the person said no, `invalid_token`, `issuer_unavailable`. */
  finish(query: URLSearchParams, challenge: Challenge): Promise<Said>
}

/** The authorization code flow with PKCE (RFC 9700 §2.1.1), spoken by oauth4webapi over the gateway's own rules for what it connects to. */
export function createProvider(
  login: NonNullable<NonNullable<Config['console']>['login']>,
  options: {
    readonly redirectUri: string
    readonly readSecret: (secret: Secret) => string
    readonly resolve?: Resolve
    readonly now?: () => number
  },
): Provider {
  const { redirectUri, readSecret, resolve, now = Date.now } = options
  const issuer = new URL(login.issuer)
  const client: oauth.Client = { client_id: login.client_id }
  const insecure = issuer.protocol === 'http:'
  const transport = {
    // `sendOutside` takes http: from a loopback address only.
    [oauth.allowInsecureRequests]: insecure,
    [oauth.customFetch]: async (
      url: string,
      { method, headers, body }: oauth.CustomFetchOptions<string, unknown>,
    ): Promise<Response> => {
      const answer = await sendOutside({
        url,
        method: method === 'POST' ? 'POST' : 'GET',
        headers,
        ...(body instanceof URLSearchParams && { body: body.toString() }),
        allowPrivate: login.allow_private === true,
        ...(resolve !== undefined && { resolve }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
        maxBytes: MAX_BYTES,
      })
      const type = answer.headers['content-type']
      return new Response(new Uint8Array(answer.body), {
        status: answer.status,
        ...(type !== undefined && { headers: { 'content-type': type } }),
      })
    },
  }
  let held: { readonly server: oauth.AuthorizationServer; readonly at: number } | null = null
  /** Anybody can begin a login: those who come while the issuer is asked wait for the same answer. */
  let asking: Promise<oauth.AuthorizationServer> | null = null

  const discover = async (): Promise<oauth.AuthorizationServer> => {
    if (held !== null && now() - held.at < FRESH_MS) return held.server
    asking ??= ask().finally(() => {
      asking = null
    })
    return asking
  }

  const ask = async (): Promise<oauth.AuthorizationServer> => {
    const server = await oauth.processDiscoveryResponse(
      issuer,
      await oauth.discoveryRequest(issuer, transport),
    )
    if (server.authorization_endpoint === undefined || server.token_endpoint === undefined)
      throw unusable('it publishes no authorization or token endpoint')
    held = { server, at: now() }
    return server
  }

  const authentication = (server: oauth.AuthorizationServer): oauth.ClientAuth => {
    if (login.client_secret === undefined) return oauth.None()
    const secret = readSecret(login.client_secret)
    // RFC 8414 §2: absent means client_secret_basic.
    const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
    return methods.includes('client_secret_basic') || !methods.includes('client_secret_post')
      ? oauth.ClientSecretBasic(secret)
      : oauth.ClientSecretPost(secret)
  }

  return {
    async begin({ state, nonce, verifier }) {
      const server = await explained(discover)
      const to = new URL(server.authorization_endpoint ?? '')
      if (to.protocol !== 'https:' && !insecure) throw unusable('its authorization endpoint is not https')
      for (const [name, value] of Object.entries({
        response_type: 'code',
        client_id: login.client_id,
        redirect_uri: redirectUri,
        scope: SCOPE,
        state,
        nonce,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
      })) {
        to.searchParams.set(name, value)
      }
      return to.href
    },

    finish: (query, { state, nonce, verifier }) =>
      explained(async () => {
        const server = await discover()
        // State, and the issuer that answers (RFC 9207): one that was not asked cannot have its code tried here.
        const answer = oauth.validateAuthResponse(server, client, query, state)
        const response = await oauth.authorizationCodeGrantRequest(
          server,
          client,
          authentication(server),
          answer,
          redirectUri,
          verifier,
          transport,
        )
        const tokens = await oauth.processAuthorizationCodeResponse(server, client, response, {
          expectedNonce: nonce,
          requireIdToken: true,
        })
        await oauth.validateApplicationLevelSignature(server, response, transport)
        const claims = oauth.getValidatedIdTokenClaims(tokens)
        if (claims === undefined) throw unusable('it gave no ID token')
        // OpenID Connect Core §2: 1 to 255 ASCII characters.
        if (!/^[\x20-\x7e]{1,255}$/.test(claims.sub)) throw unusable('its ID token names nobody')
        const more =
          claims['email'] === undefined && server.userinfo_endpoint !== undefined
            ? await oauth.processUserInfoResponse(
                server,
                client,
                claims.sub,
                await oauth.userInfoRequest(server, client, tokens.access_token, transport),
              )
            : {}
        // What is signed beats what is not.
        return { sub: claims.sub, claims: { ...more, ...claims } }
      }),
  }
}

async function explained<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw explain(error)
  }
}

function explain(error: unknown): Refused {
  if (error instanceof Refused) return error
  if (error instanceof OutgoingError) {
    return error.kind === 'unusable'
      ? unusable(error.message, error)
      : new Refused(
          'issuer_unavailable',
          `the login cannot be finished: ${error.message}`,
          'try again in a few seconds',
          { cause: error },
        )
  }
  if (error instanceof oauth.AuthorizationResponseError && error.error === 'access_denied') {
    return new Refused('denied', 'the login was refused or cancelled at the issuer', 'log in again', {
      cause: error,
    })
  }
  return new Refused(
    'invalid_token',
    'the answer of the login issuer does not hold',
    'log in again; if it happens again, have the people who run the gateway compare `console.login` in hoop.yaml with the client at the issuer',
    { cause: error },
  )
}

function unusable(why: string, cause?: unknown): Refused {
  return new Refused(
    'invalid_token',
    `the login issuer cannot be used: ${why}`,
    'ask the people who run the gateway to check `console.login` in hoop.yaml',
    { cause },
  )
}
