import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from 'jose'
import type { ActivityView, ConnectionView, IdentityView, TokenAnswer } from '../../gateway/core/contract.ts'
import { makeAuthority, signCertificate, spkiPin } from '../../gateway/identity/certificates.ts'

// A strict double of the gateway's HTTPS interface: what the real one would refuse, it refuses, and keeps on file.

/** An identity as the double keeps it. */
export interface FakeIdentity {
  readonly id: string
  readonly stage: string
  readonly parent: string | null
  readonly scope: string
  readonly thumbprint: string
  readonly tokens: string[]
  renewals: number
  revoked: boolean
  /** Thumbprint of the key by which it is kept alive. */
  readonly lease: string | null
  /** How often it was. */
  words: number
}

/** How the next answer differs: a status with a body, or whatever is done to the response. */
export type Fault =
  | { status: number; headers?: Record<string, string>; body: unknown }
  | ((response: ServerResponse) => void)

export interface GatewayApi {
  readonly url: string
  readonly pin: string
  readonly caPem: string
  readonly identities: FakeIdentity[]
  /** Method and path of every request that arrived, in order. */
  readonly requests: string[]
  /** Platform ID tokens that were shown, in order. */
  readonly idTokens: string[]
  /** Why requests were refused by the double's own strictness. */
  readonly violations: string[]
  readonly activity: ActivityView
  /** Answers of `path` to give before the usual ones. */
  fail(path: string, ...faults: Fault[]): void
  close(): Promise<void>
}

/** How to start it. */
export interface GatewayApiOptions {
  /** What the certificate names; 127.0.0.1 and localhost. */
  readonly names?: readonly string[]
  /** Milliseconds from now; an hour. */
  readonly validFor?: number
  readonly connections?: readonly ConnectionView[]
  /** Seconds that an identity lives; 900. */
  readonly ttl?: number
  readonly binding?: 'required' | 'token'
}

const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
const type = 'urn:ietf:params:oauth:token-type:'
export const ordersDb: ConnectionView = {
  name: 'orders-db',
  type: 'postgres',
  host: '127.0.0.1',
  port: 5432,
  databases: ['shop', 'archive'],
}

/** Starts the double on 127.0.0.1 with a server CA and a client CA of its own. */
export async function startGatewayApi(options: GatewayApiOptions = {}): Promise<GatewayApi> {
  const {
    names = ['127.0.0.1', 'localhost'],
    validFor = 3_600_000,
    connections = [ordersDb],
    ttl = 900,
  } = options
  const [servers, clients] = [await authority('server'), await authority('client')]
  const leaf = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const now = Date.now()
  const cert = await signCertificate({
    authority: servers,
    use: 'server',
    subject: 'gateway',
    names,
    publicKey: leaf.publicKey,
    notBefore: now + Math.min(0, validFor) - 60_000,
    notAfter: now + validFor,
  })
  const identities: FakeIdentity[] = []
  const requests: string[] = []
  const idTokens: string[] = []
  const violations: string[] = []
  const faults = new Map<string, Fault[]>()
  const activity: ActivityView = { sessions: [], approvals: [] }
  const jtis = new Set<string>()

  class Violation extends Error {}

  async function proofOf(request: IncomingMessage, token: string | null) {
    const proof = request.headers.dpop
    if (typeof proof !== 'string') throw new Violation('no DPoP proof')
    const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: ['ES256'],
    })
    if (payload.htm !== request.method) throw new Violation('htm differs')
    if (payload.htu !== `${url}${request.url?.split('?')[0]}`) throw new Violation('htu differs')
    if (typeof payload.jti !== 'string' || jtis.has(payload.jti)) throw new Violation('jti was used')
    jtis.add(payload.jti)
    if (Math.abs(Date.now() / 1000 - Number(payload.iat)) > 60) throw new Violation('iat is off')
    const ath = token === null ? undefined : createHash('sha256').update(token).digest('base64url')
    if (token !== null && payload.ath !== ath) throw new Violation('ath differs')
    if (protectedHeader.jwk === undefined) throw new Violation('no key in the proof')
    return { jwk: protectedHeader.jwk, thumbprint: await calculateJwkThumbprint(protectedHeader.jwk) }
  }

  function byToken(token: string): FakeIdentity {
    const found = identities.find((one) => one.tokens.includes(token))
    if (found === undefined || found.revoked) throw new Violation('no such identity, or it has ended')
    return found
  }

  function wantForm(request: IncomingMessage): void {
    if (request.headers['content-type'] !== 'application/x-www-form-urlencoded')
      throw new Violation('content type')
  }

  async function exchange(request: IncomingMessage, form: URLSearchParams): Promise<TokenAnswer> {
    wantForm(request)
    const known = [
      'grant_type',
      'requested_token_type',
      'subject_token',
      'subject_token_type',
      'scope',
      'ttl',
      'cnf_jwk',
      'lease_jwk',
      'audit_only',
    ]
    for (const name of form.keys()) if (!known.includes(name)) throw new Violation(`unknown field ${name}`)
    if (form.get('grant_type') !== grantType) throw new Violation('grant_type')
    const subject = form.get('subject_token') ?? ''
    const own = form.get('subject_token_type') === `${type}access_token`
    const proof = await proofOf(request, own ? subject : null)
    if (!own) {
      if (form.get('subject_token_type') !== `${type}id_token`) throw new Violation('subject_token_type')
      idTokens.push(subject)
    }
    const parent = own ? byToken(subject) : null
    if (parent !== null && parent.thumbprint !== proof.thumbprint) throw new Violation('proof by another key')
    const given = form.get('cnf_jwk')
    if (parent !== null && given === null) {
      if (form.get('scope')) throw new Violation('a renewal has no scope')
      parent.renewals++
      parent.tokens.push(`tok.${randomUUID()}`)
      return answer(parent, proof.jwk)
    }
    const lease = form.get('lease_jwk')
    if (lease !== null && 'd' in JSON.parse(lease)) throw new Violation('a private key was sent')
    const jwk = given === null ? proof.jwk : JSON.parse(given)
    if ('d' in jwk) throw new Violation('a private key was sent')
    const scope = form.get('scope') ?? ''
    const stage = /(?:^| )stage:(\S+)/.exec(scope)?.[1] ?? parent?.stage
    if (stage === undefined) throw new Violation('no stage')
    const identity: FakeIdentity = {
      id: `idn_${randomUUID().replaceAll('-', '').slice(0, 26)}`,
      stage,
      parent: parent?.id ?? null,
      scope,
      thumbprint: await calculateJwkThumbprint(jwk),
      tokens: [`tok.${randomUUID()}`],
      renewals: 0,
      revoked: false,
      lease: lease === null ? null : await calculateJwkThumbprint(JSON.parse(lease)),
      words: 0,
    }
    identities.push(identity)
    return answer(identity, jwk)
  }

  async function answer(identity: FakeIdentity, jwk: object): Promise<TokenAnswer> {
    const key = await import('node:crypto').then(({ createPublicKey }) =>
      createPublicKey({ key: { ...jwk }, format: 'jwk' }),
    )
    const life = { notBefore: Date.now(), notAfter: Date.now() + ttl * 1000 }
    const names = [`spiffe://test/stage/${identity.stage}/${identity.id}`]
    return {
      access_token: identity.tokens.at(-1) ?? '',
      issued_token_type: `${type}access_token`,
      token_type: options.binding === 'token' ? 'Bearer' : 'DPoP',
      expires_in: ttl,
      scope: identity.scope,
      client_certificate: await signCertificate({
        authority: clients,
        use: 'client',
        subject: identity.id,
        names,
        publicKey: key,
        ...life,
      }),
      identity: identity.id,
    }
  }

  async function caller(request: IncomingMessage): Promise<FakeIdentity> {
    const [scheme, token = ''] = (request.headers.authorization ?? '').split(' ')
    if (scheme !== (options.binding === 'token' ? 'Bearer' : 'DPoP')) throw new Violation(`scheme ${scheme}`)
    const identity = byToken(token)
    const { thumbprint } = await proofOf(request, token)
    if (thumbprint !== identity.thumbprint) throw new Violation('proof by another key')
    return identity
  }

  function view(identity: FakeIdentity): IdentityView {
    const wanted = [...identity.scope.matchAll(/connection:([^\s:]+)/g)].map(([, name]) => name)
    return {
      id: identity.id,
      stage: identity.stage,
      chain: [{ id: identity.id, stage: identity.stage }],
      binding: options.binding ?? 'required',
      expires_at: new Date(Date.now() + ttl * 1000).toISOString(),
      renewable_until: new Date(Date.now() + 7_200_000).toISOString(),
      connections: connections.filter(({ name }) => wanted.length === 0 || wanted.includes(name)),
    }
  }

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = ''
    for await (const chunk of request) text += String(chunk)
    const path = request.url?.split('?')[0] ?? ''
    requests.push(`${request.method} ${path}`)
    const fault = faults.get(path)?.shift()
    if (typeof fault === 'function') return fault(response)
    const send = (status: number, body: unknown, headers = {}): void => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
    }
    if (fault !== undefined) {
      // A fault hides the answer, not the fact that an ID token was shown.
      const shown = new URLSearchParams(text)
      if (shown.get('subject_token_type') === `${type}id_token`)
        idTokens.push(shown.get('subject_token') ?? '')
      return send(fault.status, fault.body, fault.headers)
    }
    try {
      switch (`${request.method} ${path}`) {
        case 'POST /oauth/token':
          return send(200, await exchange(request, new URLSearchParams(text)))
        case 'POST /oauth/lease': {
          wantForm(request)
          const token = new URLSearchParams(text).get('token') ?? ''
          const { thumbprint } = await proofOf(request, token)
          const identity = byToken(token)
          if (identity.lease !== thumbprint) throw new Violation('proof by another key')
          identity.words++
          // As the real one, which answers when the next word is due.
          await new Promise((resolve) => setTimeout(resolve, 500))
          return send(200, { expires_in: 15 })
        }
        case 'POST /oauth/revoke': {
          wantForm(request)
          const { thumbprint } = await proofOf(request, null)
          const identity = byToken(new URLSearchParams(text).get('token') ?? '')
          if (identity.thumbprint !== thumbprint) throw new Violation('proof by another key')
          identity.revoked = true
          return send(200, {})
        }
        case 'GET /api/v1/identity':
          return send(200, view(await caller(request)))
        case 'GET /api/v1/identity/activity':
          await caller(request)
          return send(200, activity)
        case 'GET /healthz':
          return send(200, { status: 'ok' })
        default:
          throw new Violation(`no such path: ${request.method} ${path}`)
      }
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      violations.push(`${request.method} ${path}: ${why}`)
      send(400, { error: 'invalid_request', error_description: why, next: 'mend the client' })
    }
  }

  const server = createServer(
    { cert, key: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }) },
    (request, response) => {
      void respond(request, response)
    },
  )
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  const url = `https://127.0.0.1:${port}`
  return {
    url,
    pin: spkiPin(servers.pem),
    caPem: servers.pem,
    identities,
    requests,
    idTokens,
    violations,
    activity,
    fail: (path, ...more) => void faults.set(path, [...(faults.get(path) ?? []), ...more]),
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

async function authority(use: 'server' | 'client') {
  const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { key, pem: await makeAuthority({ key, name: `Test ${use} CA`, use, now: Date.now() }) }
}
