import { createHash } from 'node:crypto'
import { GatewayError } from '../core/errors.ts'
import { type CompiledLevel, decideAll } from './decide.ts'
import { builtInMasks, compileMasks, masking } from './masks.ts'
import type { Level, Policy } from './policy.ts'
import { type CompiledGrant, compileGrant, compileOperations, dependsOnBody } from './rules.ts'
import type { Config, GrantConfig } from './schema.ts'
import { mapSecrets } from './secret.ts'

/** Compiles a configuration into the policy that it states; everything that can be worked out once is worked out here. */
export function compilePolicy(config: Config): Policy {
  const connections = new Map(Object.entries(config.connections))
  const masks = compileMasks({ ...config.masks, ...builtInMasks(config.connections) })
  // By stage, then by connection: Maps, because a name like `constructor` is no key of theirs.
  const grants = new Map<string, Map<string, { config: GrantConfig; compiled: CompiledGrant }>>()
  for (const [stage, { grants: list = [] }] of Object.entries(config.stages)) {
    const ofStage = new Map<string, { config: GrantConfig; compiled: CompiledGrant }>()
    for (const grant of list) {
      const connection = connections.get(grant.connection)
      if (connection === undefined || ofStage.has(grant.connection)) {
        throw new GatewayError(
          'invalid_config',
          `stage ${stage} has a grant for ${grant.connection}, which is unknown or granted already`,
        )
      }
      ofStage.set(grant.connection, { config: grant, compiled: compileGrant(stage, grant, connection.type) })
    }
    grants.set(stage, ofStage)
  }
  const masksOf = masking(masks)
  // Only levels that this policy made decide: those of another version would bring its rules along.
  const own = new WeakMap<Level, CompiledLevel>()
  const compiled = (levels: readonly Level[]): CompiledLevel[] =>
    levels.map((level) => {
      const known = own.get(level)
      if (known === undefined) throw new GatewayError('internal', 'a level of another policy was given')
      return known
    })

  return {
    version: versionOf(config),
    connection: (name) => connections.get(name) ?? null,
    levels: (chain, connection) =>
      chain.map(({ stage, narrowed, observed = false }) => {
        const grant = grants.get(stage)?.get(connection) ?? null
        const level: Level = { stage, grant: grant?.config ?? null, narrowed, observed }
        own.set(level, {
          stage,
          connection,
          grant: grant?.compiled ?? null,
          narrowed,
          observed,
          narrowedTo: narrowed === null ? null : compileOperations(narrowed),
        })
        return level
      }),
    breach: (chain) => {
      let above = chain[0]?.stage
      for (const { stage, observed } of chain) {
        if (above === undefined || !delegates(config, above, stage)) {
          return `stage ${above} does not hand on stage ${stage}`
        }
        if (observed !== true) above = stage
      }
      return null
    },
    decide: (levels, operations) => decideAll(compiled(levels), operations),
    looksIntoBody: (levels, operations) =>
      compiled(levels).some(({ grant }) =>
        grant?.intoBodies.some((rule) => operations.some((operation) => dependsOnBody(rule, operation))),
      ),
    masks: (levels, connection) => {
      compiled(levels)
      return masksOf(levels, connection)
    },
    terms: (levels, connection) => {
      const stages = compiled(levels).map(({ stage, grant, narrowed, observed }, index) => ({
        stage,
        granted: grant !== null,
        narrowed,
        observed,
        grant: levels[index]?.grant,
        binding: config.stages[stage]?.binding,
      }))
      const rest = [connections.get(connection), config.masks, config.detectors]
      return createHash('sha256')
        .update(canonical([stages, rest]))
        .digest('hex')
    },
  }
}

/** True when an identity of a stage may have a child of another, or the two are one. */
function delegates(config: Config, stage: string, child: string): boolean {
  const { stages } = config
  return (
    stage === child || (Object.hasOwn(stages, stage) && stages[stage]?.delegates?.includes(child) === true)
  )
}

/** SHA-256, hex, of everything but the secrets: a low-entropy secret could be guessed from a hash that holds it. */
function versionOf(config: Config): string {
  const bare = mapSecrets(config, () => undefined)
  return createHash('sha256').update(canonical(bare)).digest('hex')
}

/** JSON with sorted keys and nothing that is absent; the order of lists stays, for it numbers the rules. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join(',')}}`
}
