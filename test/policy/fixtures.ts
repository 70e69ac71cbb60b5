import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Operation } from '../../gateway/core/operation.ts'
import { compilePolicy } from '../../gateway/policy/compile.ts'
import { loadConfig, type LoadOptions, type Loaded } from '../../gateway/policy/load.ts'
import type { Decision, Policy } from '../../gateway/policy/policy.ts'
import { type Config, configSchema } from '../../gateway/policy/schema.ts'

/** A folder that is removed when the test is over. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'hoop-policy-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

/** Loads the text as a hoop.yaml of its own. */
export function load(text: string | Uint8Array, options: Partial<LoadOptions> = {}): Loaded {
  const path = join(folder(), 'hoop.yaml')
  writeFileSync(path, text)
  return loadConfig(path, { env: {}, secrets: true, ...options })
}

/** `line:column message` of every fault, or of every warning. */
export function places(loaded: Loaded, of: 'faults' | 'warnings' = 'faults'): string[] {
  const list = of === 'warnings' ? loaded.warnings : 'faults' in loaded ? loaded.faults : []
  return list.map(({ line, column, message }) => `${line}:${column} ${message}`)
}

type Parts = { [Key in keyof Config]?: unknown }

/** A configuration with a postgres connection `db`, a cluster `k8s`, a host `box`, an API `api`, and what is given. */
export function config(parts: Parts): Config {
  return configSchema.parse({
    gateway: { url: 'https://hoop.test' },
    connections: {
      db: { type: 'postgres', host: 'db.test', database: 'shop', user: 'ci', password: 'secret' },
      k8s: { type: 'kubernetes', url: 'https://k8s.test' },
      box: { type: 'ssh', host: 'box.test', user: 'deploy', host_key: 'ssh-ed25519 AAAA' },
      api: { type: 'http', url: 'https://api.test' },
    },
    ...parts,
  })
}

/** A policy whose stages each have one grant: `{ stage: grant }`. */
export function policyOf(grants: Record<string, Record<string, unknown> | null>, more: Parts = {}): Policy {
  const stages = Object.fromEntries(
    Object.entries(grants).map(([stage, grant]) => [
      stage,
      { grants: grant === null ? [] : [{ connection: 'db', ...grant }] },
    ]),
  )
  return compilePolicy(config({ stages, ...more }))
}

/** Decides operations for a chain of stages, the last one narrowed. */
export function decide(
  policy: Policy,
  stages: readonly string[],
  operations: readonly Operation[],
  { connection = 'db', narrowed = null }: { connection?: string; narrowed?: readonly string[] | null } = {},
): Decision {
  const chain = stages.map((stage, index) => ({
    stage,
    narrowed: index === stages.length - 1 ? narrowed : null,
  }))
  return policy.decide(policy.levels(chain, connection), operations)
}

const groups: Readonly<Record<string, readonly string[]>> = {
  select: ['read'],
  insert: ['write'],
  update: ['write'],
  delete: ['write'],
  'drop-table': ['drop', 'ddl'],
}

/** An operation as the protocols name it. */
export function operation(
  action: string,
  resource = 'public.orders',
  more: Partial<Operation> = {},
): Operation {
  return { actions: [action, ...(groups[action] ?? [])], resource, reads: action === 'select', ...more }
}
