import type { JsonWebKey } from 'node:crypto'
import { dirname } from 'node:path'
import { GatewayError } from '../core/errors.ts'
import { keyFinder, readKeys } from './files.ts'
import type { KeyFinder } from './read-chain.ts'

/** Whose signatures count: the keys that were given (`given`), or else those that lie beside what is verified. */
export function trustKeys(
  path: string,
  publicKey: JsonWebKey | readonly JsonWebKey[] | undefined,
): { readonly find: KeyFinder; readonly given: boolean } {
  if (publicKey === undefined) return { find: keyFinder(keysNear(path)), given: false }
  const keys = isList(publicKey) ? publicKey : [publicKey]
  const [only] = keys
  // A key given without a name serves for every signature.
  if (keys.length === 1 && only !== undefined && only.kid === undefined) {
    const key = keyFinder([{ ...only, kid: '' }])('')
    return { find: () => key, given: true }
  }
  return { find: keyFinder(keys), given: true }
}

function isList(keys: JsonWebKey | readonly JsonWebKey[]): keys is readonly JsonWebKey[] {
  return Array.isArray(keys)
}

/** The keys beside what is verified: in the folder itself, beside a ledger, or two levels above a recording. */
function keysNear(path: string): JsonWebKey[] {
  for (const dir of [path, dirname(path), dirname(dirname(path))]) {
    try {
      const keys = readKeys(dir)
      if (keys.length > 0) return keys
    } catch (error) {
      // `path` itself is a file, not a folder: look beside it. Damaged keys are no keys, and every signature says so.
      if (!(error instanceof GatewayError)) throw error
    }
  }
  return []
}
