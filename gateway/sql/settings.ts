import { limits } from './facts.ts'
import { cut, splitIdentifiers } from './identifiers.ts'
import { origin } from './origin.ts'
import type { Reader } from './reader.ts'
import { harmlessSettings, plannerSettings, secretSetting } from './session-settings.ts'

/** The path that a value of search_path means, or `['*']` when it cannot be told. */
export function pathOf(values: readonly (string | null)[]): readonly string[] {
  const path: string[] = []
  for (const value of values) {
    if (value === null) return ['*']
    if (value !== '') path.push(cut(value))
  }
  return path
}

/** The paths that may be in force, the latest first: in one list an empty name parts them. */
export function splitPaths(paths: readonly string[]): readonly (readonly string[])[] {
  const split: string[][] = [[]]
  for (const schema of paths) {
    if (schema === '') split.push([])
    else split.at(-1)?.push(schema)
  }
  return split
}

/** The same list with one path more, which stays: a ROLLBACK or RESET may bring back any that was ever in force. */
export function addPath(paths: readonly string[], path: readonly string[]): readonly string[] {
  const known = path.length === 0 || splitPaths(paths).some((other) => other.join('\0') === path.join('\0'))
  return known ? paths : [...path, '', ...paths]
}

/**
 * Notes that a setting is changed, by SET or set_config: nothing for harmless ones. A null name or value is one that
 * cannot be told from the text. The path found for search_path is in force from here on, together with the one before
 * (the text may go back by ROLLBACK).
 */
export function noteSetting(
  reader: Reader,
  name: string | null,
  value: string | null,
): readonly string[] | null {
  reader.found.sets = 'now'
  const setting = name?.toLowerCase() ?? null
  if (setting === null) {
    reader.facts.operation(['set', 'admin'], '')
    return usePath(reader, ['*'])
  }
  if (setting === 'role' || setting === 'session_authorization') {
    reader.facts.operation(['set-role', 'set', 'admin'], setting)
    if (value === null) return usePath(reader, ['*'])
    // `$user` is the schema of this role from here on.
    const { path } = reader
    return path.includes('$user')
      ? usePath(
          reader,
          path.map((schema) => (schema === '$user' ? value : schema)),
        )
      : null
  }
  if (setting === 'search_path') {
    const parts = value === null ? null : splitIdentifiers(value, ',')
    return usePath(reader, pathOf(parts ?? [null]))
  }
  if (plannerSettings.has(setting)) {
    reader.facts.probe(origin(['*.*.*']))
    return null
  }
  const allowed = harmlessSettings.get(setting)
  if (allowed === undefined || !allowed.test(value ?? '\0')) reader.facts.operation(['set', 'admin'], setting)
  return null
}

/** Notes that the value of a setting is shown, where it may be a secret; null for a name that cannot be told from the text. */
export function noteShown(reader: Reader, name: string | null): void {
  if (name !== null && !secretSetting.test(name)) return
  reader.facts.operation(['show', 'admin'], name?.toLowerCase() ?? '', { reads: true })
}

/** Puts a path in force for what follows in the text; none for RESET, which goes back to one that was in force before. */
export function usePath(reader: Reader, path: readonly string[]): readonly string[] {
  reader.found.sets = 'now'
  const paths = addPath(reader.path, path)
  // A text that sets more of them than are kept apart may mean any schema from there on.
  reader.path = paths.length > limits.paths ? ['*'] : paths
  // The server reads prepared statements again under the new path: what they meant before says nothing.
  for (const name of reader.named.keys()) if (name.startsWith('prepared ')) reader.named.delete(name)
  reader.found.repathed = true
  reader.found.searchPath = path
  return path
}
