import { isIP } from 'node:net'
import { createSecureContext } from 'node:tls'
import type { Logger } from 'pino'
import { GatewayError } from './core/errors.ts'
import type { Keys } from './identity/keys.ts'
import type { TlsConfig } from './listener/tls.ts'
import { renderFaults } from './policy/fault.ts'
import { loadConfig, readSecret } from './policy/load.ts'
import type { Config } from './policy/schema.ts'
import { mapSecrets } from './policy/secret.ts'

/** Reads hoop.yaml. Throws `GatewayError` `invalid_config` with every fault, a line each. */
export function readConfig(
  path: string,
  env: Readonly<Record<string, string | undefined>>,
  log: Logger,
): Config {
  const loaded = loadConfig(path, { env, secrets: true })
  if ('faults' in loaded) {
    throw new GatewayError(
      'invalid_config',
      `the configuration has faults:\n${renderFaults(loaded.faults).trimEnd()}`,
    )
  }
  for (const { file, line, column, message } of loaded.warnings)
    log.warn({ at: `${file}:${line}:${column}` }, message)
  return loaded.config
}

/** What is in force, and may change while the gateway runs. */
export interface Settings {
  readonly config: Config
  /** Every secret of it, so that none of them ever leaves in an answer. */
  readonly secrets: readonly string[]
  readonly tls: TlsConfig
}

/** What follows from a configuration: all that can fail when one is taken over. */
export async function settingsOf(config: Config, keys: Keys): Promise<Settings> {
  return { config, secrets: secretsOf(config), tls: await certificateOf(config, keys) }
}

function secretsOf(config: Config): readonly string[] {
  const found: string[] = []
  mapSecrets(config, (secret) => {
    const text = confidentialIn(readSecret(secret))
    if (text !== null) found.push(text)
    return undefined
  })
  return found
}

/** What must not be seen of the value of a secret: certificates are public. */
export function confidentialIn(value: string): string | null {
  const text = value.trim()
  return text.startsWith('-----BEGIN') && !text.includes('PRIVATE KEY') ? null : text
}

async function certificateOf(config: Config, keys: Keys): Promise<TlsConfig> {
  const clientCa = keys.clientCaPem
  const given = config.gateway.tls
  if (given !== undefined)
    return usable({ cert: readSecret(given.cert), key: readSecret(given.key), clientCa })
  const { hostname } = new URL(config.gateway.url)
  const name = hostname.replace(/^\[(.*)\]$/, '$1')
  return {
    ...(await keys.serverCertificate([...new Set([name, 'localhost', '127.0.0.1', '::1'])])),
    clientCa,
  }
}

/** Throws `GatewayError` `invalid_config` for a certificate or key that TLS does not take: here, before anything changes. */
function usable(tls: TlsConfig): TlsConfig {
  try {
    createSecureContext({ cert: tls.cert, key: tls.key })
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown error'
    throw new GatewayError(
      'invalid_config',
      `\`gateway.tls\` cannot be used (${why}): \`cert\` is the PEM of the certificate and of those between it and its root, \`key\` the PEM of its private key`,
      { cause },
    )
  }
  return tls
}

/** Where `listen` says to listen. */
export function addressOf(listen: string): { host: string; port: number } {
  const colon = listen.lastIndexOf(':')
  const host = listen.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  return {
    host: host === '' || (isIP(host) === 0 && host === '*') ? '::' : host,
    port: Number(listen.slice(colon + 1)),
  }
}
