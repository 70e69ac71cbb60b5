import { GatewayError } from '../core/errors.ts'
import { compilePath } from './json-path.ts'
import { compilePattern, type Matcher } from './pattern.ts'
import type { ColumnMasks, FieldMask, Level, Mask } from './policy.ts'
import type { ConnectionConfig, MaskConfig } from './schema.ts'

/** One column pattern of one mask, ready to be matched. */
interface Pattern {
  readonly mask: Mask
  readonly column: Matcher
  readonly relation: Matcher
}

/** One mask of hoop.yaml, compiled. */
export interface CompiledMask {
  readonly mask: Mask
  readonly unproven: MaskConfig['unproven']
  /** Null for all. */
  readonly connections: ReadonlySet<string> | null
  readonly patterns: readonly Pattern[]
  readonly fields: readonly FieldMask[]
}

const strength = { partial: 1, hash: 2, redact: 3, empty: 4 } as const

/** The mask that is there without being written: over what Secrets of clusters hold. */
export const kubernetesSecrets = 'kubernetes-secrets'

/** The built-in masks, for a gateway with these connections. */
export function builtInMasks(
  connections: Readonly<Record<string, Pick<ConnectionConfig, 'type'>>>,
): Record<string, MaskConfig> {
  const clusters = Object.keys(connections).filter((name) => connections[name]?.type === 'kubernetes')
  if (clusters.length === 0) return {}
  return {
    [kubernetesSecrets]: {
      connections: clusters,
      columns: ['kubernetes.secrets.*'],
      with: 'redact',
      unproven: 'mask',
    },
  }
}

/** Compiles the masks, the strictest first, so that the first match is the answer. */
export function compileMasks(masks: Readonly<Record<string, MaskConfig>>): readonly CompiledMask[] {
  return Object.entries(masks)
    .map(([name, config]) => {
      const mask: Mask = { name, with: config.with }
      return {
        mask,
        unproven: config.unproven,
        connections: config.connections === undefined ? null : new Set(config.connections),
        patterns: (config.columns ?? []).map((column) => ({
          mask,
          column: compilePattern(column, '.'),
          relation: compilePattern(column.slice(0, column.lastIndexOf('.')), '.'),
        })),
        fields: (config.fields ?? []).map((field) => {
          const path = compilePath(field)
          if (path === null)
            throw new GatewayError('invalid_config', `mask ${name} has a field that is no path`)
          return { mask, path }
        }),
      }
    })
    .toSorted((a, b) => strength[b.mask.with] - strength[a.mask.with])
}

/**
 * The masks of a connection that some level of the chain does not lift: what one level unmasks, another still masks. Sessions
 * share what is the same: there are as many as the grants of hoop.yaml make different.
 */
export function masking(
  masks: readonly CompiledMask[],
): (levels: readonly Level[], connection: string) => ColumnMasks {
  const known = new Map<string, ColumnMasks>()
  return (levels, connection) => {
    const deciding = levels.filter((level) => !level.observed)
    const inForce = masks
      .filter(({ connections }) => connections === null || connections.has(connection))
      .filter(({ mask }) => deciding.length === 0 || !deciding.every((level) => unmasks(level, mask.name)))
    const key = JSON.stringify(inForce.map(({ mask }) => mask.name))
    const made = known.get(key) ?? columnMasks(inForce)
    known.set(key, made)
    return made
  }
}

/** What masks, the strictest first, make of columns and fields. */
function columnMasks(inForce: readonly CompiledMask[]): ColumnMasks {
  const patterns = inForce.flatMap((mask) => mask.patterns)
  const refusing = inForce.flatMap((mask) => (mask.unproven === 'refuse' ? mask.patterns : []))
  const fields = inForce.flatMap((mask) => mask.fields)
  if (patterns.length === 0) return { ...none, fields }
  // What is not known to be one column may be any of its relation, or any at all.
  const among = (some: readonly Pattern[], column: string): Mask | null =>
    column.endsWith('.*') ? first(some, column.slice(0, -2), 'relation') : first(some, column, 'column')
  return {
    of: (column) => among(patterns, column),
    refusesUnproven: (column) => among(refusing, column) !== null,
    touches: (relation) => first(patterns, relation, 'relation') !== null,
    fields,
  }
}

const none: ColumnMasks = { of: () => null, refusesUnproven: () => false, touches: () => false, fields: [] }

function first(patterns: readonly Pattern[], text: string, of: 'column' | 'relation'): Mask | null {
  const anything = text === '*' || text === '*.*'
  for (const pattern of patterns) if (anything || pattern[of](text)) return pattern.mask
  return null
}

function unmasks(level: Level, mask: string): boolean {
  return level.grant?.unmask?.includes(mask) === true
}
