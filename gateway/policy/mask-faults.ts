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

/** Masks that would mask nothing, or are on connections that have nothing of their kind. */
export function findMaskFaults(config: Config, findings: Findings): void {
  for (const [name, mask] of Object.entries(config.masks)) {
    if (name === kubernetesSecrets)
      findings.fault(
        ['masks', name],
        `\`${name}\` is built in, for kubernetes connections: choose another name`,
      )
    for (const [index, connection] of (mask.connections ?? []).entries()) {
      const path = ['masks', name, 'connections', index]
      checkName('connection', connection, Object.keys(config.connections), path, findings)
      const type = ownValue(config.connections, connection)?.type
      if (
        mask.columns !== undefined &&
        mask.fields === undefined &&
        type !== undefined &&
        type !== 'postgres'
      )
        findings.fault(path, `${connection} is ${type}: columns are masked on postgres connections only`)
      else if (
        mask.fields !== undefined &&
        mask.columns === undefined &&
        type !== undefined &&
        type !== 'http'
      )
        findings.fault(path, `${connection} is ${type}: fields are masked on http connections only`)
      else if (type !== undefined && type !== 'postgres' && type !== 'http')
        findings.fault(
          path,
          `${connection} is ${type}: columns and fields are masked on postgres and http connections only`,
        )
    }
    if (mask.columns === undefined && mask.fields === undefined)
      findings.fault(['masks', name], 'say what it masks: `columns` (PostgreSQL) or `fields` (HTTP)')
    for (const [index, field] of (mask.fields ?? []).entries()) {
      if (compilePath(field) === null)
        findings.fault(
          ['masks', name, 'fields', index],
          'a JSON path is `$` and steps such as `.name`, `[0]`, `[*]` or `..name`',
        )
    }
    checkRepeats(mask.connections ?? [], ['masks', name, 'connections'], findings)
  }
}
