import type { JsonWebKey } from 'node:crypto'
import { compactVerify, createLocalJWKSet } from 'jose'

/** Checks, with the gateway's token keys, the signed statements (compact JWS, RFC 7515) of whom a session was for. */
export class StatementChecker {
  readonly #keys: ReturnType<typeof createLocalJWKSet>
  checked = 0

  constructor(keys: readonly JsonWebKey[]) {
    this.#keys = createLocalJWKSet({ keys: keys.map((key) => ({ ...key, kty: key.kty ?? '' })) })
  }

  /** What is wrong with the chain of identities in a start, or null: each level signed, and handed down by the one above it. */
  async check(start: Readonly<Record<string, unknown>>): Promise<string | null> {
    if (!Array.isArray(start.chain) || start.chain.length === 0) return 'the start names no identity'
    let parent: unknown = null
    for (const level of start.chain) {
      const { id, thumbprint, stage, statement }: Record<string, unknown> = Object(level)
      if (typeof id !== 'string' || typeof statement !== 'string') {
        return 'the start names an identity without a statement'
      }
      const said = await this.#read(statement)
      if (said === null) return `the statement of identity ${id} is not signed by the gateway's token key`
      if (said.id !== id) return `the statement shown for identity ${id} is of another`
      if (said.thumbprint !== thumbprint) return `the statement of identity ${id} is for another key`
      if (said.stage !== stage) return `the statement of identity ${id} is for another stage`
      if ((said.parent ?? null) !== parent)
        return `the statement of identity ${id} is for another place in the chain`
      if (!reaches(said.connections, start.connection)) {
        return `the statement of identity ${id} does not give it this connection`
      }
      parent = id
      this.checked++
    }
    return null
  }

  async #read(statement: string): Promise<Record<string, unknown> | null> {
    try {
      const { payload, protectedHeader } = await compactVerify(statement, this.#keys, {
        algorithms: ['ES256'],
      })
      // An access token is signed by the same key, and says something else.
      if (protectedHeader.typ !== 'hoop-statement+jwt') return null
      const said: unknown = JSON.parse(Buffer.from(payload).toString())
      return typeof said === 'object' && said !== null ? { ...said } : null
    } catch {
      // Not a JWS, another key, a bad signature: in each case nothing is proven.
      return null
    }
  }
}

/** `connections` are pairs of a name and the operations it is narrowed to. */
function reaches(connections: unknown, name: unknown): boolean {
  return Array.isArray(connections) && connections.some((entry) => Array.isArray(entry) && entry[0] === name)
}
