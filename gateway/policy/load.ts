import { accessSync, closeSync, constants, openSync, readSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { findContradictions, isAddress } from './consistency.ts'
import { readDocument, type Source } from './document.ts'
import type { Fault, Path } from './fault.ts'
import { type Config, configSchema } from './schema.ts'
import { mapSecrets } from './secret.ts'
import { validate } from './validate.ts'

export { parseDuration } from './duration.ts'
export type { Fault } from './fault.ts'
export { readSecret } from './secret.ts'

const maxBytes = 1024 * 1024

export interface LoadOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  /** False checks what can be checked without them: variables may be unset, and secret files missing. */
  readonly secrets: boolean
}

export type Loaded =
  | { readonly config: Config; readonly warnings: readonly Fault[] }
  | { readonly faults: readonly Fault[]; readonly warnings: readonly Fault[] }

/** Reads and checks hoop.yaml. Every fault has file, line and column; nothing is thrown for what the file holds. */
export function loadConfig(path: string, options: LoadOptions): Loaded {
  const text = readBounded(path)
  if (typeof text !== 'string') return { faults: [text], warnings: [] }
  const source = readDocument(path, text, options.env)
  if ('faults' in source) return { faults: source.faults, warnings: [] }
  const unset = options.secrets ? source.variables.filter((variable) => variable.value === null) : []
  const missing = unset.map(({ path: at, name }) =>
    source.fault(at, `the environment variable ${name} is not set, or empty`),
  )
  const checked = validate(source)
  if ('faults' in checked) return { faults: inOrder(merge(missing, checked.faults)), warnings: [] }
  const folder = dirname(resolve(path))
  const located = locateFiles(checked.config, folder, source, options.secrets)
  const { faults, warnings } = findContradictions(checked.config, source, { starts: options.secrets })
  const all = inOrder([...merge(missing, withoutUnknown(faults, source)), ...located.faults])
  if (all.length > 0) return { faults: all, warnings: inOrder([...warnings, ...located.warnings]) }
  return {
    config: located.config,
    warnings: inOrder([...withoutUnknown(warnings, source), ...located.warnings]),
  }
}

/** The text of the file, or the one fault that keeps it from being read. */
function readBounded(path: string): string | Fault {
  const fault = (message: string): Fault => ({ file: path, line: 1, column: 1, path: '', message })
  const bytes = Buffer.allocUnsafe(maxBytes + 1)
  let length = 0
  try {
    const handle = openSync(path, 'r')
    try {
      for (let count = -1; count !== 0 && length < bytes.length; length += count) {
        count = readSync(handle, bytes, length, bytes.length - length, null)
      }
    } finally {
      closeSync(handle)
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    return fault(
      code === 'ENOENT'
        ? 'there is no such file: --config names another'
        : `the file cannot be read (${code})`,
    )
  }
  if (length > maxBytes) return fault('the file is larger than 1 MiB')
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, length))
  } catch (error) {
    if (error instanceof TypeError) return fault('the file is not UTF-8 text')
    throw error
  }
}

/**
 * The configuration with every file by its absolute path, and a fault for each file that cannot be read; where secrets are not
 * looked for, a warning for a `ca`, which is none: it is expected to lie beside hoop.yaml.
 */
function locateFiles(
  config: Config,
  folder: string,
  source: Source,
  secrets: boolean,
): { config: Config; faults: Fault[]; warnings: Fault[] } {
  const faults: Fault[] = []
  const warnings: Fault[] = []
  const absolute = mapSecrets(config, (secret, path) => {
    if (typeof secret === 'string') return secret
    const file = resolve(folder, secret.file)
    if ((secrets || path.at(-1) === 'ca') && !isReadable(file)) {
      const what = `the file ${file} does not exist, or cannot be read`
      if (secrets) faults.push(source.fault([...path, 'file'], what))
      else warnings.push(source.fault([...path, 'file'], `${what}: without it the gateway will not start`))
    }
    return { file }
  })
  const located = configSchema.parse(absolute)
  located.gateway.data = resolve(folder, located.gateway.data)
  const { recordings } = located.gateway
  if (recordings !== undefined && !isAddress(recordings)) {
    located.gateway.recordings = resolve(folder, recordings)
  }
  return { config: located, faults, warnings }
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK)
    return true
  } catch {
    // Whatever keeps it from being read is the same fault.
    return false
  }
}

/** What an unset variable stands for is unknown, so nothing can be said against it. */
function withoutUnknown(faults: readonly Fault[], source: Source): Fault[] {
  const unknown = source.variables.filter((variable) => variable.value === null)
  return faults.filter((fault) => !unknown.some(({ path }) => samePlace(source, path, fault)))
}

function samePlace(source: Source, path: Path, fault: Fault): boolean {
  const place = source.fault(path, '')
  return place.line === fault.line && place.column === fault.column
}

/** Both, less what is said of a place for which the first has something already. */
function merge(first: readonly Fault[], more: readonly Fault[]): Fault[] {
  const taken = new Set(first.map((fault) => fault.path))
  return [...first, ...more.filter((fault) => !taken.has(fault.path))]
}

function inOrder(faults: readonly Fault[]): Fault[] {
  return faults.toSorted((a, b) => a.line - b.line || a.column - b.column)
}
