import type { z } from 'zod'
import type { Source } from './document.ts'
import { type Fault, nearest, type Path, suggest, writePath } from './fault.ts'
import { type Config, configSchema } from './schema.ts'

type Issue = z.core.$ZodIssue

/** The configuration, or what the schema has against it, each fault where it stands. */
export function validate(
  source: Source,
): { readonly config: Config } | { readonly faults: readonly Fault[] } {
  // The keys that an object may have, by the object: what to suggest for an unknown one. An issue does not carry them.
  const allowed = new Map<unknown, Set<string>>()
  const check = (value: unknown) =>
    configSchema.safeParse(value, {
      error: (issue) => {
        const shape = issue.code === 'unrecognized_keys' ? shapeOf(issue.inst) : null
        if (shape !== null) {
          const keys = allowed.get(issue.input) ?? new Set()
          for (const key of shape) keys.add(key)
          allowed.set(issue.input, keys)
        }
        return undefined
      },
    })
  const value = structuredClone(source.value)
  const unknown = settleVariables(source, value, (tried) => check(tried).error?.issues ?? [])
  const result = check(value)
  if (result.success) return { config: result.data }
  // A mistyped key is one fault, not two: what it was meant to be is not missing as well.
  const meant = new Set<string>()
  const isMeant = (path: string, message: string): boolean =>
    meant.has(path) && message.includes('is missing')
  const faults = result.error.issues
    .flatMap((issue) => explainIssue(issue, [], { source, value, allowed, meant }))
    .filter(({ path, message }) => !unknown.some((other) => other.path === path) && !isMeant(path, message))
  return { faults: [...faults, ...unknown] }
}

/**
 * A variable that stands alone is text, or, where only that fits, the number or truth value it spells. One that the
 * environment lacks stands for anything that fits: what it is cannot be checked, and the rest of the file can.
 * Changes `value`; gives a fault for each variable that nothing fits.
 */
function settleVariables(
  source: Source,
  value: unknown,
  issuesOf: (value: unknown) => readonly Issue[],
): Fault[] {
  const faults: Fault[] = []
  if (!source.variables.some((variable) => variable.alone)) return faults
  const objects = (path: Path): boolean => issuesOf(value).some((issue) => startsWith(issue.path, path))
  for (const { path, name, value: text, alone } of source.variables) {
    if (!alone || !objects(path)) continue
    const fits = (text === null ? standIns : readings(text)).some((reading) => {
      put(value, path, reading)
      return !objects(path)
    })
    if (fits) continue
    put(value, path, text ?? '')
    if (text === null) {
      faults.push(source.fault(path, `cannot be checked: the environment variable ${name} is not set`))
    }
  }
  return faults
}

const standIns = ['https://unset.invalid', 'unset@unset.invalid', '1m', '1d', '0.0.0.0:1', 'unset', 1, true]

function readings(text: string): unknown[] {
  if (/^(0|[1-9][0-9]{0,14})$/.test(text)) return [Number(text)]
  return text === 'true' || text === 'false' ? [text === 'true'] : []
}

interface Context {
  readonly source: Source
  readonly value: unknown
  readonly allowed: ReadonlyMap<unknown, ReadonlySet<string>>
  /** Paths of the keys that mistyped ones were probably meant to be. */
  readonly meant: Set<string>
}

function explainIssue(issue: Issue, base: Path, context: Context): Fault[] {
  const { source, value, allowed } = context
  const path: Path = [...base, ...issue.path.filter((part) => typeof part !== 'symbol')]
  const label = labelOf(path)
  const { found, value: actual } = take(value, path)
  const fault = (message: string): Fault[] => [source.fault(path, message)]
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(path, key, [...(allowed.get(actual) ?? [])], context))
    case 'invalid_key':
      return [source.fault(path, `\`${label}\`: ${issue.issues[0]?.message ?? issue.message}`, 'key')]
    case 'invalid_union':
      return issue.discriminator === undefined
        ? explainUnion(issue, path, context)
        : fault(choice(label, found, source.written(path), textsOf(Reflect.get(issue, 'options'))))
    case 'invalid_value':
      return fault(choice(label, found, source.written(path), textsOf(issue.values)))
    case 'invalid_type':
      return fault(found ? `\`${label}\` ${wrongType(issue.expected, actual)}` : `\`${label}\` is missing`)
    case 'too_small':
      return fault(
        issue.origin === 'string'
          ? `\`${label}\` is empty`
          : issue.origin === 'array'
            ? `\`${label}\` needs at least one entry`
            : `\`${label}\` must be at least ${issue.minimum}`,
      )
    case 'too_big':
      return fault(
        issue.origin === 'string'
          ? `\`${label}\` is longer than ${issue.maximum} characters`
          : `\`${label}\` must be at most ${issue.maximum}`,
      )
    case 'custom':
    case 'invalid_element':
    case 'invalid_format':
    case 'not_multiple_of':
      return fault(`\`${label}\`: ${issue.message}`)
  }
}

function explainUnion(
  issue: Extract<Issue, { code: 'invalid_union' }>,
  path: Path,
  context: Context,
): Fault[] {
  const label = labelOf(path)
  const { found, value } = take(context.value, path)
  if (!found) return [context.source.fault(path, `\`${label}\` is missing`)]
  // The option that was meant is the only one of the right type, or else the only one that knows all the keys.
  const fitting = issue.errors.filter((errors) =>
    errors.every((error) => error.path.length > 0 || error.code === 'unrecognized_keys'),
  )
  const knowing = fitting.filter((errors) => errors.every((error) => error.path.length > 0))
  const meant = fitting.length === 1 ? fitting[0] : knowing.length === 1 ? knowing[0] : undefined
  if (meant !== undefined) {
    return meant.flatMap((error) => explainIssue(error, path, context))
  }
  const known = [...(context.allowed.get(value) ?? [])]
  const keys = typeof value === 'object' && value !== null ? Object.keys(value) : []
  const strange = keys.find((key) => !known.includes(key))
  if (strange !== undefined && known.length > 0) {
    return [unknownKey(path, strange, known, context)]
  }
  return [context.source.fault(path, `\`${label}\`: ${issue.message}`)]
}

function unknownKey(path: Path, key: string, known: readonly string[], { source, meant }: Context): Fault {
  const near = nearest(key, known)
  if (near !== null) meant.add(writePath([...path, near]))
  return source.fault([...path, key], `unknown key \`${key}\`${suggest(key, known)}`, 'key')
}

function choice(label: string, found: boolean, written: string | null, valid: readonly string[]): string {
  const list = valid.join(', ')
  if (!found) return `\`${label}\` is missing: one of ${list}`
  if (valid.length === 1) return `\`${label}\` must be ${list}`
  const near = written === null ? '' : suggest(written, valid)
  return `\`${label}\` must be one of ${list}${near.startsWith(', did') ? near : ''}`
}

function textsOf(values: unknown): string[] {
  return Array.isArray(values) ? values.map(String) : []
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'text',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map of keys and values',
  record: 'a map of names and values',
}

function wrongType(expected: string, actual: unknown): string {
  if (actual === null) return `has no value: it must be ${typeNames[expected] ?? expected}`
  const quote =
    expected === 'string' && (typeof actual === 'number' || typeof actual === 'boolean')
      ? ': put it in quotes'
      : ''
  return `must be ${typeNames[expected] ?? expected}${quote}`
}

/** The last key of a path with the indices after it: `operations[0]`. */
function labelOf(path: Path): string {
  const last = path.findLastIndex((part) => typeof part === 'string')
  if (last < 0) return 'hoop.yaml'
  return path
    .slice(last)
    .reduce<string>((text, part) => (typeof part === 'number' ? `${text}[${part}]` : part), '')
}

function shapeOf(schema: unknown): string[] | null {
  if (typeof schema !== 'object' || schema === null) return null
  const shape: unknown = Reflect.get(schema, 'shape')
  return typeof shape === 'object' && shape !== null ? Object.keys(shape) : null
}

function startsWith(path: readonly PropertyKey[], start: Path): boolean {
  return start.every((part, index) => path[index] === part)
}

function take(value: unknown, path: Path): { found: boolean; value: unknown } {
  let current: unknown = value
  for (const part of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, part)) {
      return { found: false, value: undefined }
    }
    current = Reflect.get(current, part)
  }
  return { found: true, value: current }
}

function put(value: unknown, path: Path, replacement: unknown): void {
  const holder = take(value, path.slice(0, -1)).value
  const last = path.at(-1)
  if (typeof holder === 'object' && holder !== null && last !== undefined)
    Reflect.set(holder, last, replacement)
}
