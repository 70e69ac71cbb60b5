import { isIP } from 'node:net'
import { isLoopbackHost, isPublicAddress } from '../identity/addresses.ts'
import type { Source } from './document.ts'
import type { Fault, Findings, Path } from './fault.ts'
import { findMaskFaults, findPatternFaults } from './mask-faults.ts'
import { checkRepeats } from './name-faults.ts'
import { findApproverFaults, findPeopleFaults } from './people-faults.ts'
import type { Config, ConnectionConfig } from './schema.ts'
import { findStageFaults } from './stage-faults.ts'

/** What a schema cannot see: names that mean nothing, URLs that leak, values that contradict each other. */
export function findContradictions(
  config: Config,
  source: Source,
  /** `starts`: a gateway is to start with it. What this version cannot do is a fault then, and a warning before. */
  { starts }: { readonly starts: boolean },
): { faults: Fault[]; warnings: Fault[] } {
  const faults: Fault[] = []
  const warnings: Fault[] = []
  const findings: Findings = {
    fault: (path, message) => faults.push(source.fault(path, message)),
    warn: (path, message) => warnings.push(source.fault(path, message)),
  }
  checkGateway(config, findings)
  checkPlaces(config, starts ? 'fault' : 'warn', findings)
  checkIssuers(config, findings)
  for (const [name, connection] of Object.entries(config.connections)) {
    checkConnection(connection, ['connections', name], findings)
  }
  for (const name of Object.keys(config.stages)) findStageFaults(config, name, findings)
  findMaskFaults(config, findings)
  findPatternFaults(config, findings)
  findPeopleFaults(config, findings)
  findApproverFaults(config, findings)
  if (config.console?.login !== undefined) {
    const path = ['console', 'login', 'issuer']
    checkUrl(config.console.login.issuer, path, findings)
    checkPublic(config.console.login.issuer, config.console.login, path, findings)
  }
  for (const [name, webhook] of Object.entries(config.webhooks)) {
    checkUrl(webhook.url, ['webhooks', name, 'url'], findings)
    checkPublic(webhook.url, webhook, ['webhooks', name, 'url'], findings)
  }
  if (config.slack !== undefined) checkUrl(config.slack.api, ['slack', 'api'], findings)
  return { faults, warnings }
}

/** An address that is not of the public internet has to be meant. */
function checkPublic(
  text: string,
  { allow_private: allowed }: { readonly allow_private?: boolean | undefined },
  path: Path,
  findings: Findings,
): void {
  if (allowed === true || !isPrivateHost(new URL(text).hostname)) return
  findings.fault(
    path,
    `\`${String(path.at(-1))}\` is on a private or loopback address: that needs \`allow_private: true\``,
  )
}

/** Whether a place of recordings is a URL, and not a folder. */
export function isAddress(place: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//.test(place)
}

/** State and recordings stay on the gateway's own disk in this version; elsewhere they would be looked for in vain. */
function checkPlaces({ gateway }: Config, kind: 'fault' | 'warn', findings: Findings): void {
  if (gateway.database !== undefined) {
    const why =
      '`database`: this version keeps its state in `data`, and does not start with another place for it'
    findings[kind](['gateway', 'database'], why)
  }
  if (gateway.recordings !== undefined && isAddress(gateway.recordings)) {
    const why = '`recordings`: this version records into a folder, and does not start with another place'
    findings[kind](['gateway', 'recordings'], why)
  }
}

function checkGateway({ gateway }: Config, findings: Findings): void {
  checkUrl(gateway.url, ['gateway', 'url'], findings)
  const url = new URL(gateway.url)
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    findings.fault(
      ['gateway', 'url'],
      '`url` is scheme, host and port only: it is the name of the token issuer',
    )
  }
  const listen = Number(gateway.listen.slice(gateway.listen.lastIndexOf(':') + 1))
  if (listen > 65_535) findings.fault(['gateway', 'listen'], `there is no port ${listen}`)
  const taken = new Map([[listen, 'listen']])
  for (const [protocol, port] of Object.entries(gateway.ports ?? {})) {
    if (port === undefined) continue
    const other = taken.get(port)
    if (other !== undefined) {
      findings.fault(['gateway', 'ports', protocol], `port ${port} is taken by \`${other}\` already`)
    }
    taken.set(port, `ports.${protocol}`)
  }
}

/** Plain http only where nobody can listen in, and no passwords where they would be shown. */
function checkUrl(text: string, path: Path, findings: Findings): void {
  const url = new URL(text)
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname)) {
    findings.fault(path, `\`${String(path.at(-1))}\` must be https: (http: is for loopback addresses only)`)
  }
  if (url.username !== '' || url.password !== '') {
    findings.fault(path, `\`${String(path.at(-1))}\` holds a user or password: URLs are shown and logged`)
  }
}

function checkIssuers(config: Config, findings: Findings): void {
  const apps = Object.entries(config.issuers).filter(([, one]) => one.platform === 'github' && one.app)
  for (const [name] of apps.slice(1)) {
    findings.fault(
      ['issuers', name, 'app'],
      `issuer ${apps[0]?.[0]} has an \`app\` already, and the accounts in \`people\` are of one GitHub: run a gateway for each`,
    )
  }
  for (const [name, issuer] of Object.entries(config.issuers)) {
    const urls: [string, string | undefined][] = [
      ['url', issuer.url],
      ['api', issuer.platform === 'github' ? issuer.api : undefined],
    ]
    for (const [key, text] of urls) {
      if (text === undefined) continue
      const path = ['issuers', name, key]
      checkUrl(text, path, findings)
      checkPublic(text, issuer, path, findings)
    }
  }
}

function isPrivateHost(hostname: string): boolean {
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  if (isIP(host) !== 0) return !isPublicAddress(host)
  return isLoopbackHost(host) || host.endsWith('.localhost')
}

function checkConnection(connection: ConnectionConfig, path: Path, findings: Findings): void {
  switch (connection.type) {
    case 'postgres': {
      if (connection.tls !== 'verify-full' && !isLoopbackHost(connection.host)) {
        findings.warn(
          [...path, 'tls'],
          `\`tls: ${connection.tls}\` lets others on the way pose as the database: use verify-full`,
        )
      }
      const names = [connection.database, ...(connection.databases ?? [])]
      checkRepeats(names.slice(1), [...path, 'databases'], findings)
      break
    }
    case 'kubernetes':
      checkUrl(connection.url, [...path, 'url'], findings)
      if ((connection.client_cert === undefined) !== (connection.client_key === undefined)) {
        findings.fault(path, '`client_cert` and `client_key` go together')
      }
      break
    case 'http':
      checkUrl(connection.url, [...path, 'url'], findings)
      break
    case 'ssh':
      if (connection.certificate !== undefined && connection.private_key === undefined) {
        findings.fault([...path, 'certificate'], '`certificate` needs the `private_key` that it is for')
      }
      break
  }
}
