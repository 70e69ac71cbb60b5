import { compilePattern } from '../masking/patterns.ts'
import type { Findings } from './fault.ts'
import { compilePath } from './json-path.ts'
import { kubernetesSecrets } from './masks.ts'
import { checkName, checkRepeats, ownValue } from './name-faults.ts'
import type { Config } from './schema.ts'

/** Patterns of detectors that cannot be looked for in linear time, or are none. */
export function findPatternFaults({ detectors }: Config, findings: Findings): void {
  for (const [name, source] of Object.entries(detectors.patterns)) {
    const pattern = compilePattern(source)
    if ('fault' in pattern) findings.fault(['detectors', 'patterns', name], `\`${name}\`: ${pattern.fault}`)
  }
}

/** What a mask can name, and the connections on which there is such a thing. */
const kinds = [
  ['columns', 'postgres'],
  ['fields', 'http'],
] as const

/** Masks that would mask nothing, or are on connections that have nothing of their kind. */
export function findMaskFaults(config: Config, findings: Findings): void {
  for (const [name, mask] of Object.entries(config.masks)) {
    if (name === kubernetesSecrets)
      findings.fault(
        ['masks', name],
        `\`${name}\` is built in, for kubernetes connections: choose another name`,
      )
    const what = kinds.filter(([kind]) => mask[kind] !== undefined)
    for (const [index, connection] of (mask.connections ?? []).entries()) {
      const path = ['masks', name, 'connections', index]
      checkName('connection', connection, Object.keys(config.connections), path, findings)
      const type = ownValue(config.connections, connection)?.type
      if (type !== undefined && what.length > 0 && !what.some(([, on]) => on === type)) {
        const [named, types] = [0, 1].map((part) => what.map((kind) => kind[part]).join(' and '))
        findings.fault(path, `${connection} is ${type}: ${named} are masked on ${types} connections only`)
      }
    }
    if (what.length === 0)
      findings.fault(['masks', name], 'say what it masks: `columns` (PostgreSQL) or `fields` (HTTP)')
    for (const [index, field] of (mask.fields ?? []).entries()) {
      if (compilePath(field) === null)
        findings.fault(
          ['masks', name, 'fields', index],
          'a JSON path is `$` and steps such as `.name`, `[0]`, `[*]` or `..name`',
        )
    }
    if (mask.unproven === 'refuse' && mask.columns === undefined)
      findings.fault(
        ['masks', name, 'unproven'],
        '`unproven` is for `columns`: an answer over HTTP that cannot be masked is refused whatever it says',
      )
    checkRepeats(mask.connections ?? [], ['masks', name, 'connections'], findings)
  }
}
