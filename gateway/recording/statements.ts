import type { JsonWebKey } from 'node:crypto'
import { compactVerify, createLocalJWKSet } from 'jose'

/** Checks, with the gateway's token keys, the signed statements (compact JWS, RFC 7515) of whom a session was for. */
export class StatementChecker {
  readonly #keys: ReturnType<typeof createLocalJWKSet>
  checked = 0

  constructor(keys: readonly JsonWebKey[]) {
    this.#keys = createLocalJWKSet({ keys: keys.map((key) => ({ ...key, kty: key.kty ?? '' })) })
  }

  /** What is wrong with the chain of identities in a start, or null. */
  async check(start: Readonly<Record<string, unknown>>): Promise<string | null> {
    if (!Array.isArray(start.chain) || start.chain.length === 0) return 'the start names no identity'
    for (const level of start.chain) {
      const { id, thumbprint, stage, statement }: Record<string, unknown> = Object(level)
      if (typeof id !== 'string' || typeof statement !== 'string')
        return 'the start names an identity without a statement'
      const claims = await this.#read(statement)
      if (claims === null) return `the statement of identity ${id} is not signed by the gateway's token key`
      if (claims.sub !== id && claims.jti !== id)
        return `the statement shown for identity ${id} is of another`
      const bound: Record<string, unknown> = Object(claims.cnf)
      if (bound.jkt !== undefined && bound.jkt !== thumbprint)
        return `the statement of identity ${id} is for another key`
      if (claims.stage !== undefined && claims.stage !== stage)
        return `the statement of identity ${id} is for another stage`
      this.checked++
    }
    return null
  }

  async #read(statement: string): Promise<Record<string, unknown> | null> {
    try {
      const { payload } = await compactVerify(statement, this.#keys)
      const claims: unknown = JSON.parse(Buffer.from(payload).toString())
      return typeof claims === 'object' && claims !== null ? { ...claims } : null
    } catch {
      // Not a JWS, another key, a bad signature: in each case nothing is proven.
      return null
    }
  }
}
