import { createHash, createPublicKey, type JsonWebKey } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCode, wrongUsage } from '../../client/error.ts'

/** The gateway's public keys, by what they sign. */
export interface KeySet {
  /** Ed25519: recordings. */
  readonly recording: readonly JsonWebKey[]
  /** ES256: tokens and statements of identity. */
  readonly token: readonly JsonWebKey[]
}

/** Reads a JWK set (RFC 7517 §5), as the gateway serves it. */
export function readKeySet(value: unknown): KeySet {
  if (typeof value !== 'object' || value === null || !('keys' in value) || !Array.isArray(value.keys)) {
    throw wrongUsage('that is not a JWK set', 'give what /.well-known/jwks.json answered')
  }
  const keys = value.keys.filter((key: unknown): key is JsonWebKey => typeof key === 'object' && key !== null)
  return { recording: keys.filter(({ kty }) => kty === 'OKP'), token: keys.filter(({ kty }) => kty === 'EC') }
}

/** The JWK set in a file, kept from before. */
export async function readKeyFile(path: string): Promise<KeySet> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw wrongUsage(
      `${path} cannot be read (${systemCode(cause) ?? 'unknown error'})`,
      'give a file with a JWK set',
    )
  })
  try {
    return readKeySet(JSON.parse(text))
  } catch {
    throw wrongUsage(`${path} holds no JWK set`, 'give what /.well-known/jwks.json answered')
  }
}

/** On the gateway's own machine: the public part of its own keys, which says more than those beside the recordings. */
export async function ownKeySet(data: string): Promise<KeySet> {
  const [recording, token] = await Promise.all(
    ['recording.key', 'token.key'].map((name) => publicKeyIn(join(data, name))),
  )
  return { recording: recording ?? [], token: token ?? [] }
}

async function publicKeyIn(path: string): Promise<JsonWebKey[]> {
  if (!existsSync(path)) return []
  const jwk = createPublicKey(await readFile(path)).export({ format: 'jwk' })
  // RFC 7638 §3: the required members in lexical order; RFC 8037 §2 for Ed25519.
  const { crv, kty, x, y } = jwk
  const canonical = kty === 'OKP' ? { crv, kty, x } : { crv, kty, x, y }
  return [{ ...jwk, kid: createHash('sha256').update(JSON.stringify(canonical)).digest('base64url') }]
}
