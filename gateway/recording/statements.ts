import type { JsonWebKey } from 'node:crypto'
import { narrows } from '../policy/narrowing.ts'
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
    let issued = 0
    /** The nearest level above that decides: what is below has to be within it. */
    let above: Narrowing | null = null
    for (const level of start.chain) {
      const { id, thumbprint, stage, statement, auditOnly }: Record<string, unknown> = Object(level)
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
      if ((said.audit_only === true) !== (auditOnly === true))
        return `the statement of identity ${id} says otherwise whether it only looked on`
      if (typeof said.iat !== 'number' || said.iat < issued)
        return `the statement of identity ${id} is older than that of the one above it`
      const narrowing = readNarrowing(said.connections)
      if (narrowing === null) return `the statement of identity ${id} does not say what it may use`
      if (above === null && said.audit_only === true)
        return `identity ${id} only looked on, and nothing decided`
      const wider = above === null ? null : widened(above, narrowing)
      if (wider !== null)
        return `the statement of identity ${id} gives it ${wider}, which the one above it has not`
      if (said.audit_only !== true) {
        if (typeof start.connection !== 'string' || !narrowing.has(start.connection))
          return `the statement of identity ${id} does not give it this connection`
        above = narrowing
      }
      parent = id
      issued = said.iat
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

/** Connections, each with the operations that it is narrowed to, or null. */
type Narrowing = ReadonlyMap<string, readonly string[] | null>

/** From pairs of a name and its operations; null when it is something else. */
function readNarrowing(connections: unknown): Narrowing | null {
  if (!Array.isArray(connections)) return null
  const found = new Map<string, readonly string[] | null>()
  for (const entry of connections) {
    if (!Array.isArray(entry)) return null
    const [name, operations]: readonly unknown[] = entry
    if (typeof name !== 'string' || found.has(name)) return null
    if (
      operations !== null &&
      !(Array.isArray(operations) && operations.every((one) => typeof one === 'string'))
    )
      return null
    found.set(name, operations === null ? null : operations.map(String))
  }
  return found
}

/** What a level has that the one above has not, or null. */
function widened(above: Narrowing, below: Narrowing): string | null {
  for (const [name, operations] of below) {
    const held = above.get(name)
    if (held === undefined) return `connection ${name}`
    if (!narrows(held, operations)) return `more operations on ${name}`
  }
  return null
}
