import type { JsonWebKey } from 'node:crypto'
import { compactVerify, createLocalJWKSet, importJWK } from 'jose'

/** Checks, with the gateway's token keys, the signed statements (compact JWS, RFC 7515) of whom a session was for. */
export class StatementChecker {
  readonly #named: ReturnType<typeof createLocalJWKSet>
  /** The key that serves for every statement: the only one given, without a name. */
  readonly #nameless: JsonWebKey | null
  checked = 0

  constructor(keys: readonly JsonWebKey[]) {
    const [only] = keys
    this.#nameless = keys.length === 1 && only !== undefined && only.kid === undefined ? only : null
    this.#named = createLocalJWKSet({ keys: keys.map(withType) })
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
      const algorithms = ['ES256']
      const { payload, protectedHeader } =
        this.#nameless === null
          ? await compactVerify(statement, this.#named, { algorithms })
          : await compactVerify(statement, await importJWK(withType(this.#nameless), 'ES256'), { algorithms })
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

function withType(key: JsonWebKey): JsonWebKey & { kty: string } {
  return { ...key, kty: key.kty ?? '' }
}

/** `connections` are pairs of a name and the operations it is narrowed to. */
function reaches(connections: unknown, name: unknown): boolean {
  return Array.isArray(connections) && connections.some((entry) => Array.isArray(entry) && entry[0] === name)
}
