import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { GatewayError } from '../core/errors.ts'
import type { Path } from './fault.ts'
import { configSchema, type Config, type Secret } from './schema.ts'
import { secretFile } from './schema-values.ts'

const maxBytes = 1024 * 1024

/**
 * The value of a secret: text as it is, a file read now. The newline that ends a file of one line is not part of the
 * secret; PEM is left as it is. Throws `GatewayError` `invalid_config` that names the file, never what is in it.
 */
export function readSecret(secret: Secret): string {
  if (typeof secret === 'string') return secret
  const value = readText(secret.file)
  const read = value.startsWith('-----BEGIN') ? value : value.replace(/\r?\n$/, '')
  if (read === '') throw new GatewayError('invalid_config', `the secret file ${secret.file} is empty`)
  return read
}

function readText(file: string): string {
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch (cause) {
    throw new GatewayError('invalid_config', `the secret file ${file} cannot be read`, { cause })
  }
  if (bytes.byteLength > maxBytes) {
    throw new GatewayError('invalid_config', `the secret file ${file} is larger than 1 MiB`)
  }
  return bytes.toString('utf8')
}

/**
 * A copy of the configuration with every secret replaced by what `change` gives for it (undefined leaves it out).
 * Where secrets stand is read from the schema, so that one added there is never overlooked here.
 */
export function mapSecrets(
  config: Config,
  change: (secret: Secret, path: Path) => Secret | undefined,
): unknown {
  return walk(configSchema, config, [], change)
}

function walk(
  schema: unknown,
  value: unknown,
  path: Path,
  change: (secret: Secret, path: Path) => Secret | undefined,
): unknown {
  if (value === undefined) return undefined
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) {
    return walk(schema.unwrap(), value, path, change)
  }
  if (isSecret(schema)) return isSecretValue(value) ? change(value, path) : undefined
  if (schema instanceof z.ZodUnion) {
    // The value is valid: the first option that takes it is the one it was read by.
    const option = schema.options.find((one) => one instanceof z.ZodType && one.safeParse(value).success)
    return walk(option, value, path, change)
  }
  if (schema instanceof z.ZodArray && Array.isArray(value)) {
    return value.map((item: unknown, index) => walk(schema.element, item, [...path, index], change))
  }
  if (typeof value !== 'object' || value === null) return value
  const shape: unknown = schema instanceof z.ZodObject ? schema.shape : undefined
  const inner = (key: string): unknown => {
    if (schema instanceof z.ZodRecord) return schema.valueType
    return typeof shape === 'object' && shape !== null ? Reflect.get(shape, key) : undefined
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, walk(inner(key), item, [...path, key], change)]),
  )
}

function isSecret(schema: unknown): boolean {
  return schema instanceof z.ZodUnion && schema.options.includes(secretFile)
}

function isSecretValue(value: unknown): value is Secret {
  return typeof value === 'string' || (typeof value === 'object' && value !== null && 'file' in value)
}
