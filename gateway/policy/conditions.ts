import { type Json, foldName } from '../core/json.ts'
import type { Operation, QueryValues } from '../core/operation.ts'
import { type JsonPath, type Progress, advance, arrived, compilePath, start } from './json-path.ts'
import { type Matcher, compilePattern } from './pattern.ts'

/** What a rule asks of a request's query or body, ready to be looked at. */
export interface Conditions {
  readonly query: readonly { readonly name: string; readonly match: Matcher }[] | null
  readonly body: readonly { readonly path: JsonPath; readonly match: Matcher }[] | null
}

/** Compiles the conditions of a rule. */
export function compileConditions(rule: {
  readonly query?: Readonly<Record<string, string>> | undefined
  readonly body?: Readonly<Record<string, string>> | undefined
}): Conditions {
  const all = (of: Readonly<Record<string, string>>): [string, Matcher][] =>
    Object.entries(of).map(([name, pattern]) => [name, compilePattern(pattern, '/')])
  return {
    query: rule.query === undefined ? null : all(rule.query).map(([name, match]) => ({ name, match })),
    body:
      rule.body === undefined
        ? null
        : all(rule.body).map(([path, match]) => ({ path: compilePath(path) ?? nowhere, match })),
  }
}

/** Leads to no value that JSON can have. */
const nowhere: JsonPath = [{ kind: 'index', index: -1 }]

/**
 * True when the query meets every condition. Strict (deny, approve): when it may, as some server reads it. Otherwise only
 * when each parameter is there once and each way to read it matches.
 */
export function queryMeets(
  conditions: NonNullable<Conditions['query']>,
  query: Operation['query'],
  strict: boolean,
): boolean {
  if (query === undefined || query === null) return strict
  return conditions.every(({ name, match }) => {
    const fold = foldParameter(name)
    const alike: QueryValues[number][] = []
    let exact = true
    for (const [given, values] of query) {
      if (foldParameter(given) !== fold) continue
      exact &&= given === name
      alike.push(...values)
    }
    if (strict) return alike.some((readings) => readings.some(match))
    return exact && alike.length === 1 && alike.every((readings) => readings.every(match))
  })
}

/** What servers take for the same parameter: `Force`, `force[]`, and PHP's `a.b` for `a_b`. */
function foldParameter(name: string): string {
  return foldName(name).replace(/\[.*$/s, '').replaceAll(/[. ]/g, '_')
}

/** The same for a JSON body, where a condition's path may lead to several values: all of them have to match, or (strict) any may. */
export function bodyMeets(
  conditions: NonNullable<Conditions['body']>,
  body: Operation['body'],
  strict: boolean,
): boolean {
  if (body === undefined || body === null) return strict
  return conditions.every(({ path, match }) => {
    const found = body === 'empty' ? [] : valuesAt(path, body, strict)
    if (strict) return found.some((value) => value.kind !== 'value' || value.readings.some(match))
    return found.length > 0 && found.every((value) => value.kind === 'value' && value.readings.every(match))
  })
}

function valuesAt(path: JsonPath, root: Json, strict: boolean): Json[] {
  const found: Json[] = []
  const same = strict
    ? (wanted: string, name: string) => foldName(wanted) === foldName(name)
    : (wanted: string, name: string) => wanted === name
  const walk = (value: Json, progress: Progress): void => {
    if (arrived(path, progress)) found.push(value)
    const children: Iterable<[string | number, Json]> =
      value.kind === 'map' ? value.entries : value.kind === 'list' ? value.items.entries() : []
    for (const [child, inner] of children) {
      const next = advance(path, progress, child, same)
      if (next.length > 0) walk(inner, next)
    }
  }
  walk(root, start)
  return found
}
