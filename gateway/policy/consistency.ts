import { isIP } from 'node:net'
import { isLoopbackHost, isPublicAddress } from '../identity/addresses.ts'
import { compilePattern } from '../masking/patterns.ts'
import type { Source } from './document.ts'
import { parseDuration } from './duration.ts'
import { type Fault, type Findings, type Path, suggest } from './fault.ts'
import { compilePath } from './json-path.ts'
import { kubernetesSecrets } from './masks.ts'
import { findGateFaults } from './gate-faults.ts'
import { findRuleFaults } from './rule-faults.ts'
import type { Config, ConnectionConfig, GrantConfig, IssuerConfig } from './schema.ts'

/** What a schema cannot see: names that mean nothing, URLs that leak, values that contradict each other. */
export function findContradictions(
  config: Config,
  source: Source,
  {
    starts,
  }: {
    /** A gateway is to start with it: what this version cannot do is a fault then, and a warning before. */ readonly starts: boolean
  },
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
  for (const name of Object.keys(config.stages)) checkStage(config, name, findings)
  checkMasks(config, findings)
  checkPatterns(config, findings)
  checkPeople(config, findings)
  checkApprovers(config, findings)
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

function checkStage(config: Config, name: string, findings: Findings): void {
  const stage = config.stages[name]
  if (stage === undefined) return
  const path: Path = ['stages', name]
  if (stage.max_ttl !== undefined && parseDuration(stage.ttl) > parseDuration(stage.max_ttl)) {
    findings.fault([...path, 'max_ttl'], `\`max_ttl\` ${stage.max_ttl} is shorter than \`ttl\` ${stage.ttl}`)
  }
  for (const [index, subject] of (stage.subjects ?? []).entries()) {
    const at = [...path, 'subjects', index]
    checkName('issuer', subject.issuer, Object.keys(config.issuers), [...at, 'issuer'], findings)
    const platform = ownValue(config.issuers, subject.issuer)?.platform
    if (subject.reviewed === true && platform !== undefined && platform !== 'github') {
      findings.fault(
        [...at, 'reviewed'],
        `\`reviewed\` is asked of GitHub: issuer ${subject.issuer} is ${platform}`,
      )
    }
    if (platform === 'github' && !Object.keys(subject.claims).some((claim) => bindsRepository.has(claim))) {
      findings.warn(
        [...at, 'claims'],
        'these claims name no repository: any repository on this issuer may match; add repository_id',
      )
    }
  }
  for (const [index, delegate] of (stage.delegates ?? []).entries()) {
    checkName('stage', delegate, Object.keys(config.stages), [...path, 'delegates', index], findings)
  }
  checkRepeats(stage.delegates ?? [], [...path, 'delegates'], findings)
  const granted = new Map<string, number>()
  for (const [index, grant] of (stage.grants ?? []).entries()) {
    const at = [...path, 'grants', index]
    const first = granted.get(grant.connection)
    if (first !== undefined) {
      findings.fault(
        [...at, 'connection'],
        `grants[${first}] is for ${grant.connection} already: put the rules together`,
      )
    } else {
      granted.set(grant.connection, index)
    }
    checkGrant(config, grant, at, findings)
  }
  if (granted.size === 0) findings.warn(path, `stage ${name} has no grants: it may do nothing`)
  const delegated = Object.values(config.stages).some((other) => other.delegates?.includes(name) === true)
  if ((stage.subjects ?? []).length === 0 && !delegated) {
    findings.warn(path, `stage ${name} has no subjects, and no stage delegates to it: nobody can become it`)
  }
}

const bindsRepository = new Set([
  'job_workflow_ref',
  'repository',
  'repository_id',
  'repository_owner',
  'repository_owner_id',
  'sub',
  'workflow_ref',
])

function checkGrant(config: Config, grant: GrantConfig, path: Path, findings: Findings): void {
  checkName(
    'connection',
    grant.connection,
    Object.keys(config.connections),
    [...path, 'connection'],
    findings,
  )
  const connection = ownValue(config.connections, grant.connection)
  if (connection !== undefined) checkAccount(connection, grant, path, findings)
  for (const [index, mask] of (grant.unmask ?? []).entries()) {
    const at = [...path, 'unmask', index]
    const builtIn = connection?.type === 'kubernetes' ? [kubernetesSecrets] : []
    checkName('mask', mask, [...Object.keys(config.masks), ...builtIn], at, findings)
    const connections = ownValue(config.masks, mask)?.connections
    if (connections !== undefined && !connections.includes(grant.connection)) {
      findings.warn(at, `mask ${mask} does not concern ${grant.connection}`)
    }
  }
  checkRepeats(grant.unmask ?? [], [...path, 'unmask'], findings)
  const effects = ['allow', 'approve', 'deny'] as const
  for (const effect of effects) {
    for (const [index, rule] of (grant[effect] ?? []).entries()) {
      const at = [...path, effect, index]
      if (connection !== undefined) findRuleFaults(rule, connection.type, at, findings)
      if ('by' in rule) {
        checkName('approver group', String(rule.by), Object.keys(config.approvers), [...at, 'by'], findings)
      }
    }
  }
  if (effects.every((effect) => (grant[effect] ?? []).length === 0)) {
    findings.warn(path, `this grant has no rules: it allows nothing on ${grant.connection}`)
  }
}

const accountKeys = {
  postgres: ['user', 'password'],
  kubernetes: ['token', 'impersonate'],
  ssh: ['user', 'password', 'private_key'],
  http: ['token'],
} as const

/** The service account must be one that this type of target knows, and whole. */
function checkAccount(
  connection: ConnectionConfig,
  grant: GrantConfig,
  path: Path,
  findings: Findings,
): void {
  const { type } = connection
  const account = grant.as
  if (account === undefined) {
    if (type === 'postgres' && connection.user === undefined) {
      findings.fault(
        path,
        `connection ${grant.connection} has no \`user\`: give it one, or this grant \`as: { user, password }\``,
      )
    }
    return
  }
  const at = [...path, 'as']
  const known: readonly string[] = accountKeys[type]
  const strange = Object.keys(account).find((key) => !known.includes(key))
  if (strange !== undefined) {
    findings.fault(
      [...at, strange],
      `\`${strange}\` is not how a ${type} account is given: use ${known.join(', ')}`,
    )
  } else if (known.includes('user') && account.user === undefined) {
    findings.fault(at, '`user` is missing: whose password or key this is')
  } else if (
    account.password === undefined &&
    account.token === undefined &&
    account.private_key === undefined &&
    account.impersonate === undefined
  ) {
    findings.fault(
      at,
      `\`${known.filter((key) => key !== 'user').join('` or `')}\` is missing: the connection's own is another account's`,
    )
  }
}

function checkPatterns({ detectors }: Config, findings: Findings): void {
  for (const [name, source] of Object.entries(detectors.patterns)) {
    const pattern = compilePattern(source)
    if ('fault' in pattern) findings.fault(['detectors', 'patterns', name], `\`${name}\`: ${pattern.fault}`)
  }
}

function checkMasks(config: Config, findings: Findings): void {
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

function checkPeople(config: Config, findings: Findings): void {
  const accounts = new Map<string, string>()
  for (const [name, person] of Object.entries(config.people)) {
    if (name === 'operator') {
      findings.fault(
        ['people', name],
        '`operator` is the operator of the gateway: give this person another name',
      )
    }
    for (const [platform, account] of Object.entries(person)) {
      const key = `${platform} ${platform === 'email' ? String(account).toLowerCase() : String(account)}`
      const other = accounts.get(key)
      if (other !== undefined) {
        // One account that answers as two people would count twice.
        findings.fault(['people', name, platform], `this ${platform} account is ${other}'s already`)
      }
      accounts.set(key, name)
    }
  }
}

function checkApprovers(config: Config, findings: Findings): void {
  const members = [...Object.keys(config.people), 'operator']
  const app = Object.values(config.issuers).some(
    (issuer) => issuer.platform === 'github' && issuer.app !== undefined,
  )
  for (const [name, group] of Object.entries(config.approvers)) {
    const path = ['approvers', name]
    for (const [index, member] of group.members.entries()) {
      checkName('person', member, members, [...path, 'members', index], findings)
    }
    checkRepeats(group.members, [...path, 'members'], findings)
    if (group.required > new Set(group.members).size) {
      findings.fault(
        [...path, 'required'],
        `\`required\` ${group.required} is more than the group has members`,
      )
    }
    if (group.break_glass !== undefined) {
      const at = [...path, 'break_glass']
      checkName('approver group', group.break_glass, Object.keys(config.approvers), at, findings)
      if (group.break_glass === name) findings.fault(at, 'a group cannot break its own glass')
    }
    for (const [index, gate] of group.gates.entries()) {
      const at = [...path, 'gates', index]
      findGateFaults(config, { gate, members: group.members }, at, findings)
      if ('gitlab-manual-job' in gate && !Object.values(config.issuers).some(isGitlab))
        findings.fault([...at, 'gitlab-manual-job'], 'this gate needs a GitLab issuer')
      if ('jenkins-input' in gate && !Object.values(config.issuers).some(canAskJenkins))
        findings.fault([...at, 'jenkins-input'], 'this gate needs a Jenkins issuer with `user` and `token`')
      for (const name of ['github-environment', 'github-pull-request']) {
        if (name in gate && !app)
          findings.fault([...at, name], 'this gate needs a GitHub issuer with an `app`')
      }
    }
  }
}

const canAskJenkins = (issuer: IssuerConfig): boolean =>
  issuer.platform === 'jenkins' && issuer.user !== undefined && issuer.token !== undefined
const isGitlab = ({ platform }: { readonly platform: string }): boolean => platform === 'gitlab'

function checkName(
  kind: string,
  name: string,
  known: readonly string[],
  path: Path,
  findings: Findings,
): void {
  if (known.includes(name)) return
  findings.fault(path, `there is no ${kind} named \`${name}\`${suggest(name, known)}`)
}

function checkRepeats(names: readonly string[], path: Path, findings: Findings): void {
  for (const [index, name] of names.entries()) {
    if (names.indexOf(name) < index) findings.fault([...path, index], `\`${name}\` is here twice`)
  }
}

function ownValue<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined
}
