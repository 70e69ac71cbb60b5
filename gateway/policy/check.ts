import type { Fault } from './fault.ts'
import { loadConfig } from './load.ts'

export { renderFaults } from './fault.ts'

/** Checks hoop.yaml without its secrets: variables may be unset and secret files missing. */
export function checkConfig(
  path: string,
  env: Readonly<Record<string, string | undefined>>,
): { readonly faults: readonly Fault[]; readonly warnings: readonly Fault[] } {
  const loaded = loadConfig(path, { env, secrets: false })
  return { faults: 'faults' in loaded ? loaded.faults : [], warnings: loaded.warnings }
}
