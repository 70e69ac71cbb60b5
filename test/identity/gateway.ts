import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CryptoKey, type JWK, SignJWT } from 'jose'
import type { TokenAnswer } from '../../gateway/core/contract.ts'
import type { ExchangeRequest } from '../../gateway/identity/exchange-request.ts'
import { Identities } from '../../gateway/identity/identities.ts'
import { Issuers } from '../../gateway/identity/issuers.ts'
import type { Resolve } from '../../gateway/identity/fetch-json.ts'
import { type Keys, openKeys } from '../../gateway/identity/keys.ts'
import { type Config, configSchema } from '../../gateway/policy/schema.ts'
import type { LedgerEvent } from '../../gateway/recording/event.ts'
import { type Store, openStore } from '../../gateway/store/open.ts'
import { type GithubOidc, startGithubOidc } from '../fakes/github-oidc.ts'

export const gatewayUrl = 'https://hoop.acme.example:8443'
export const tokenUrl = `${gatewayUrl}/oauth/token`
const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
const idTokenType = 'urn:ietf:params:oauth:token-type:id_token'
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'

/** The identity part of a gateway, with an issuer like GitHub's, a clock that tests move, and what was reported. */
export interface TestGateway {
  readonly github: GithubOidc
  readonly keys: Keys
  readonly events: LedgerEvent[]
  identities: Identities
  store: Store
  config: Config
  /** Milliseconds that the gateway's clock is ahead. */
  ahead: number
  /** An ID token of the platform's for this gateway; claims that are undefined are left out. */
  issue(claims?: object): Promise<string>
  /** Starts the same gateway again, from what is on disk. */
  restart(): Promise<void>
  close(): Promise<void>
}

export async function startGateway(options: { resolve?: Resolve } = {}): Promise<TestGateway> {
  const github = await startGithubOidc()
  const folder = join(mkdtempSync(join(tmpdir(), 'hoop-identity-')), 'data')
  const keys = await openKeys(folder, { trustDomain: 'acme.example' })
  const events: LedgerEvent[] = []
  const start = (gateway: { config: Config; ahead: number; store: Store }): Identities => {
    const now = (): number => Date.now() + gateway.ahead
    const config = (): Config => gateway.config
    return new Identities({
      config,
      keys,
      store: gateway.store,
      report: (event) => events.push(event),
      issuers: new Issuers(
        config,
        options.resolve === undefined ? { now } : { now, resolve: options.resolve },
      ),
      now,
    })
  }
  const base = { config: configOf(github.url), ahead: 0, store: await openStore(join(folder, 'state.db')) }
  const gateway: TestGateway = Object.assign(base, {
    github,
    keys,
    events,
    identities: start(base),
    issue: (claims: object = {}) => github.issue({ ...claims }, { aud: gatewayUrl }),
    async restart() {
      await gateway.store.close()
      gateway.store = await openStore(join(folder, 'state.db'))
      gateway.identities = start(gateway)
    },
    async close() {
      await gateway.store.close()
      await github.close()
      rmSync(join(folder, '..'), { recursive: true, force: true })
    },
  })
  return gateway
}

export function configOf(
  issuerUrl: string,
  change: (config: Record<string, unknown>) => void = () => {},
): Config {
  const database = { type: 'postgres', host: 'db', database: 'shop', user: 'ci', tls: 'disable' }
  const grant = (connection: string): object => ({ connection, allow: [{ operations: ['read'] }] })
  const subjects = [{ issuer: 'github', claims: { repository_id: '1296269', ref: 'refs/heads/**' } }]
  const raw = {
    gateway: { url: gatewayUrl, trust_domain: 'acme.example' },
    issuers: { github: { platform: 'github', url: issuerUrl, allow_private: true } },
    connections: { 'orders-db': database, 'users-db': database, 'other-db': database },
    stages: {
      test: { subjects, ttl: '15m', grants: [grant('orders-db'), grant('users-db')] },
      deploy: {
        subjects: [
          {
            issuer: 'github',
            claims: {
              repository_id: '1296269',
              environment: 'production',
              job_workflow_ref: 'acme/shop/.github/workflows/deploy.yml@refs/heads/main',
            },
          },
        ],
        ttl: '15m',
        max_ttl: '2h',
        delegates: ['migrate', 'bare'],
        grants: [grant('orders-db'), grant('users-db')],
      },
      migrate: { ttl: '1h', grants: [grant('orders-db'), grant('other-db')] },
      bare: { subjects, ttl: '15m', binding: 'token', grants: [grant('orders-db')] },
      reviewed: {
        subjects: [{ issuer: 'github', claims: { repository_id: '1296269' }, reviewed: true }],
        grants: [grant('orders-db')],
      },
    },
  }
  change(raw)
  return configSchema.parse(raw)
}

/** A job's key, with which it proves requests. */
export interface TestKey {
  readonly jwk: JWK
  readonly pem: string
  /** A DPoP proof; claims and header can be bent. */
  prove(change?: {
    claims?: Record<string, unknown>
    header?: Record<string, unknown>
    token?: string
  }): Promise<string>
}

export function makeKey(): TestKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { kty = '', crv = '', x = '', y = '' } = publicKey.export({ format: 'jwk' })
  const jwk = { kty, crv, x, y }
  const key: CryptoKey = privateKey.toCryptoKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
  return {
    jwk,
    pem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    prove({ claims = {}, header = {}, token } = {}) {
      const payload: Record<string, unknown> = {
        jti: randomUUID(),
        htm: 'POST',
        htu: tokenUrl,
        iat: Math.floor(Date.now() / 1000),
        ...(token === undefined ? {} : { ath: createHash('sha256').update(token).digest('base64url') }),
        ...claims,
      }
      for (const [name, value] of Object.entries(payload)) if (value === undefined) delete payload[name]
      return new SignJWT(payload)
        .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk, ...header })
        .sign(key)
    },
  }
}

type Fields = Readonly<Record<string, unknown>>

/** Exchanges a platform's token, proved by `key`. */
export async function exchangeToken(
  gateway: TestGateway,
  options: {
    token: string
    key: TestKey
    scope?: string
    fields?: Fields
    request?: Partial<ExchangeRequest>
  },
): Promise<TokenAnswer> {
  return gateway.identities.exchange({
    form: {
      grant_type: grantType,
      subject_token: options.token,
      subject_token_type: idTokenType,
      scope: options.scope ?? 'stage:test',
      ...options.fields,
    },
    dpop: await options.key.prove(proofTime(gateway)),
    method: 'POST',
    url: tokenUrl,
    clientCertificateDer: null,
    ...options.request,
  })
}

/** A job with its root identity. */
export interface Job {
  readonly answer: TokenAnswer
  readonly key: TestKey
}

/** A new job's root identity of a stage. */
export async function startJob(
  gateway: TestGateway,
  options: { scope?: string; claims?: Fields; fields?: Fields } = {},
): Promise<Job> {
  const key = makeKey()
  const token = await gateway.github.issue(
    { environment: 'production', check_run_id: randomUUID(), ...options.claims },
    { aud: gatewayUrl, issuedIn: gateway.ahead / 1000, expiresIn: gateway.ahead / 1000 + 300 },
  )
  const { scope = 'stage:deploy', fields = {} } = options
  return { key, answer: await exchangeToken(gateway, { token, key, scope, fields }) }
}

/** Exchanges an identity's own token: with `child` for a child that has that key, else for a longer life. */
export async function exchangeOwn(
  gateway: TestGateway,
  options: {
    parent: Job
    child?: TestKey
    scope?: string
    fields?: Fields
    request?: Partial<ExchangeRequest>
  },
): Promise<TokenAnswer> {
  const { parent, child, scope } = options
  const token = parent.answer.access_token
  return gateway.identities.exchange({
    form: {
      grant_type: grantType,
      subject_token: token,
      subject_token_type: accessTokenType,
      ...(scope === undefined ? {} : { scope }),
      ...(child === undefined ? {} : { cnf_jwk: JSON.stringify(child.jwk) }),
      ...options.fields,
    },
    dpop: await parent.key.prove({ ...proofTime(gateway), token }),
    method: 'POST',
    url: tokenUrl,
    clientCertificateDer: null,
    ...options.request,
  })
}

/** A child of a job. */
export async function startChild(
  gateway: TestGateway,
  parent: Job,
  scope?: string,
  fields?: Fields,
): Promise<Job> {
  const key = makeKey()
  const answer = await exchangeOwn(gateway, {
    parent,
    child: key,
    ...(scope === undefined ? {} : { scope }),
    ...(fields === undefined ? {} : { fields }),
  })
  return { answer, key }
}

/** DER of the first certificate in a PEM. */
export function derOf(pem: string): Uint8Array {
  const [, body = ''] = /-----BEGIN CERTIFICATE-----([^-]+)-----END/.exec(pem) ?? []
  return Buffer.from(body, 'base64')
}

export function proofTime(gateway: TestGateway): { claims: { iat: number } } {
  return { claims: { iat: Math.floor((Date.now() + gateway.ahead) / 1000) } }
}
