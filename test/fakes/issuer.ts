import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type CryptoKey, type JWK, SignJWT } from 'jose'

// What the fakes of the platforms' issuers share: keys, signed tokens, and a server for discovery and keys.

/** How to issue a token that differs from what a job gets. */
export interface IssueOptions {
  readonly aud?: string | string[]
  /** Seconds from now; the platform's own life when absent. */
  readonly expiresIn?: number
  /** Seconds from now; 0. */
  readonly issuedIn?: number
  /** Sign with this key instead of the published one, under `kid`. */
  readonly key?: CryptoKey
  readonly kid?: string
  readonly alg?: string
  /** Further members of the protected header. */
  readonly header?: Readonly<Record<string, unknown>>
}

export interface SigningKey {
  readonly kid: string
  readonly privateKey: CryptoKey
  readonly jwk: JWK
}

export function makeKey(kid: string = randomUUID()): SigningKey {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const rs256 = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  return {
    kid,
    privateKey: privateKey.toCryptoKey(rs256, false, ['sign']),
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' },
  }
}

/** Signs these claims and no others; a claim that is `undefined` is left out. */
export function sign(
  key: SigningKey,
  claims: Readonly<Record<string, unknown>>,
  how: IssueOptions = {},
): Promise<string> {
  const payload = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined))
  return new SignJWT(payload)
    .setProtectedHeader({ typ: 'JWT', alg: how.alg ?? 'RS256', kid: how.kid ?? key.kid, ...how.header })
    .sign(how.key ?? key.privateKey)
}

/** Serves JSON by path on 127.0.0.1, made anew for each request; anything else is 404. */
export async function serveJson(
  documents: (url: string) => Readonly<Record<string, object>>,
): Promise<{ url: string; close: () => Promise<void> }> {
  let url = ''
  const server = createServer((request, response) => {
    const document = request.method === 'GET' ? documents(url)[request.url ?? ''] : undefined
    response
      .writeHead(document === undefined ? 404 : 200, { 'content-type': 'application/json' })
      .end(JSON.stringify(document ?? { error: 'not found' }))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
