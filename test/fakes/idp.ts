import { createHash, randomBytes } from 'node:crypto'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { type IssueOptions, makeKey, sign } from './issuer.ts'

/** What people log in as: claims of their account, `sub` among them. */
export type Claims = Readonly<Record<string, unknown>>

/** An OpenID provider with one client, as strict as the real ones: OpenID Connect Core, RFC 6749, RFC 7636, RFC 9207. */
export interface Idp {
  readonly url: string
  readonly clientId: string
  readonly clientSecret: string
  /** Who is logged in at the provider: whoever comes is taken for them, without a question. */
  account: Claims
  /** Changes what comes back, for tests of what must not be believed. */
  lie: {
    /** Parameters of the redirect; undefined leaves one out. */
    callback?: Readonly<Record<string, string | undefined>>
    idToken?: Readonly<Record<string, unknown>>
    sign?: IssueOptions
    /** Leaves the email out of the ID token: it is in UserInfo only. */
    thin?: boolean
    userinfo?: Readonly<Record<string, unknown>>
  }
  /** Requests that a real provider would have refused, and why. */
  readonly refused: string[]
  /** Codes that were redeemed. */
  readonly redeemed: string[]
  close(): Promise<void>
}

interface Code {
  readonly challenge: string
  readonly nonce: string
  readonly redirectUri: string
  readonly account: Claims
}

/** Starts it on 127.0.0.1; `redirectUris` are those that the client is registered with. */
export async function startIdp(redirectUris: () => readonly string[]): Promise<Idp> {
  const key = makeKey()
  const codes = new Map<string, Code>()
  const tokens = new Map<string, Claims>()
  const idp: Idp = {
    url: '',
    clientId: 'hoop',
    clientSecret: 'idp:sécret/of+the=client',
    account: { sub: 'u-alice', email: 'alice@acme.example', email_verified: true },
    lie: {},
    refused: [],
    redeemed: [],
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }

  const routes: Readonly<
    Record<string, (request: IncomingMessage, response: ServerResponse, url: URL) => unknown>
  > = {
    'GET /.well-known/openid-configuration': (_, response) =>
      json(response, 200, {
        issuer: idp.url,
        authorization_endpoint: `${idp.url}/authorize`,
        token_endpoint: `${idp.url}/token`,
        userinfo_endpoint: `${idp.url}/userinfo`,
        jwks_uri: `${idp.url}/keys`,
        response_types_supported: ['code'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: ['RS256'],
        code_challenge_methods_supported: ['S256'],
        authorization_response_iss_parameter_supported: true,
        token_endpoint_auth_methods_supported: ['client_secret_basic'],
      }),

    'GET /keys': (_, response) => json(response, 200, { keys: [key.jwk] }),

    'GET /authorize': (_, response, url) => {
      const asked = Object.fromEntries(url.searchParams)
      const wrong =
        (asked.response_type !== 'code' && 'response_type') ||
        (asked.client_id !== idp.clientId && 'client_id') ||
        (!redirectUris().includes(asked.redirect_uri ?? '') && 'redirect_uri') ||
        (!(asked.scope ?? '').split(' ').includes('openid') && 'scope') ||
        (asked.code_challenge_method !== 'S256' && 'code_challenge_method') ||
        (!/^[\w-]{43}$/.test(asked.code_challenge ?? '') && 'code_challenge') ||
        ((asked.state ?? '').length < 22 && 'state') ||
        ((asked.nonce ?? '').length < 22 && 'nonce')
      // RFC 6749 §4.1.2.1: with a wrong client or redirect URI nobody is sent anywhere.
      if (wrong !== false) return refuse(response, 400, `authorize: ${wrong}`)
      const code = randomBytes(24).toString('base64url')
      const { code_challenge: challenge = '', nonce = '', redirect_uri: redirectUri = '', state = '' } = asked
      codes.set(code, { challenge, nonce, redirectUri, account: idp.account })
      const back = new URL(redirectUri)
      for (const [name, value] of Object.entries({ code, state, iss: idp.url, ...idp.lie.callback }))
        if (value !== undefined) back.searchParams.set(name, value)
      response.writeHead(302, { location: back.href }).end()
    },

    'POST /token': async (request, response) => {
      const form = new URLSearchParams(await text(request))
      // RFC 6749 §2.3.1: id and secret are form-encoded before they are joined.
      const basic = `${formEncode(idp.clientId)}:${formEncode(idp.clientSecret)}`
      if (request.headers.authorization !== `Basic ${Buffer.from(basic).toString('base64')}`)
        return refuse(response, 401, 'token: invalid_client')
      if (request.headers['content-type']?.startsWith('application/x-www-form-urlencoded') !== true)
        return refuse(response, 400, 'token: content-type')
      const code = codes.get(form.get('code') ?? '')
      codes.delete(form.get('code') ?? '')
      const hash = createHash('sha256').update(form.get('code_verifier') ?? '')
      if (
        code === undefined ||
        form.get('grant_type') !== 'authorization_code' ||
        form.get('redirect_uri') !== code.redirectUri ||
        hash.digest('base64url') !== code.challenge
      )
        return refuse(response, 400, 'token: invalid_grant')
      idp.redeemed.push(form.get('code') ?? '')
      const now = Math.floor(Date.now() / 1000)
      const { email, email_verified: verified, ...rest } = code.account
      const claims = {
        ...rest,
        ...(idp.lie.thin !== true && { email, email_verified: verified }),
        iss: idp.url,
        aud: idp.clientId,
        iat: now,
        exp: now + 300,
        nonce: code.nonce,
        ...idp.lie.idToken,
      }
      const token = randomBytes(24).toString('base64url')
      tokens.set(token, code.account)
      json(response, 200, {
        access_token: token,
        token_type: 'Bearer',
        expires_in: 300,
        id_token: await sign(key, claims, idp.lie.sign),
      })
    },

    'GET /userinfo': (request, response) => {
      const account = tokens.get(request.headers.authorization?.replace(/^Bearer /, '') ?? '')
      if (account === undefined) return refuse(response, 401, 'userinfo: invalid_token')
      json(response, 200, { ...account, ...idp.lie.userinfo })
    },
  }

  const refuse = (response: ServerResponse, status: number, why: string): void => {
    idp.refused.push(why)
    json(response, status, { error: why.split(': ')[1] })
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', idp.url)
    const route = routes[`${request.method} ${url.pathname}`]
    if (route === undefined) return refuse(response, 404, `${request.method} ${url.pathname}: not_found`)
    void route(request, response, url)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return Object.assign(idp, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
}

function json(response: ServerResponse, status: number, body: object): void {
  response
    .writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
    .end(JSON.stringify(body))
}

function formEncode(value: string): string {
  return new URLSearchParams({ v: value }).toString().slice(2)
}
