import { wrongUsage } from './error.ts'
import { hiddenVariables } from './hidden.ts'
import { here } from './system.ts'

type Environment = Readonly<Record<string, string | undefined>>

// Each of these is worth an identity of its own, or the job's rights at its platform.
const roots =
  /^(ACTIONS_ID_TOKEN_REQUEST_(TOKEN|URL)|ACTIONS_RUNTIME_TOKEN|(.*_)?(ID|OIDC)_TOKEN(_V\d+)?|SYSTEM_OIDCREQUESTURI|CI_JOB_JWT(_V\d+)?|JENKINS_(AGENT_)?SECRET|BUILDKITE_AGENT_ACCESS_TOKEN|HOOP_.*)$/i
// Rights at the platform that some commands are meant to have, and an agent that proves keys which are not here.
const tokens =
  /^(GITHUB_TOKEN|GH_TOKEN|(GH|GITHUB)_ENTERPRISE_TOKEN|INPUT_(.*[_-])?TOKEN|CI_JOB_TOKEN|CI_BUILD_TOKEN|CI_REGISTRY_PASSWORD|CI_DEPENDENCY_PROXY_PASSWORD|CI_DEPLOY_PASSWORD|CI_REPOSITORY_URL|SYSTEM_ACCESSTOKEN|SSH_AUTH_SOCK)$/i
// What leads libpq anywhere or proves anything there.
const libpq =
  /^(PGHOST|PGHOSTADDR|PGPORT|PGUSER|PGDATABASE|PGPASSWORD|PGPASSFILE|PGSERVICE|PGSERVICEFILE|PGSSL[A-Z]*|PGGSSENCMODE)$/i
// Where something happens to be, not what a program reads credentials from.
const places = /^(PATH|PWD|OLDPWD|_)$/i
/** A copy of anything shorter may be chance. */
const shortestCopy = 16

/** What decides which variables a child sees. */
export interface Inheritance {
  /** The parent's private folder, or null when the child's identity is the job's first. */
  readonly parentHome: string | null
  /** The gateway's origin: tokens that are made out to it are worth an identity, whatever the variable is called. */
  readonly gateway: string
  /** Variables that led the parent to a connection. */
  readonly rewritten: readonly string[]
  /** Platform tokens that the child may have all the same; see `checkKept`. */
  readonly keep: readonly string[]
  /** True to leave out what leads to things that a sandbox hides. */
  readonly sandbox: boolean
  /** The child's own settings. */
  readonly settings: Readonly<Record<string, string>>
}

/** Throws when a variable may not be handed on, whoever asks for it. */
export function checkKept(keep: readonly string[]): void {
  const root = keep.find((name) => roots.test(name))
  if (root === undefined) return
  throw wrongUsage(
    `${root} cannot be kept: it is worth the whole job's identity`,
    'let the command use the identity it is given',
  )
}

/** Names of variables have no case on Windows, where a step may write one as it likes. */
function named(names: readonly string[], name: string, platform: NodeJS.Platform): boolean {
  if (platform !== 'win32') return names.includes(name)
  return names.some((one) => one.toUpperCase() === name.toUpperCase())
}

/** Whether a value names a file in a folder: as it stands, in a URL, or with the slashes that some programs want on Windows. */
function namesFileIn(folder: string, value: string): boolean {
  const plain = (text: string): string => text.replaceAll('\\', '/')
  return [value, decoded(value)].some((text) => plain(text).includes(plain(folder)))
}

function decoded(value: string): string {
  // By parts: a percent sign elsewhere is no reason to find nothing.
  return value.replaceAll(/(?:%[0-9a-f]{2})+/gi, (part) => {
    try {
      return decodeURIComponent(part)
    } catch {
      return part // no UTF-8: it stands as it is
    }
  })
}

/** The environment without the parent's identity and without platform tokens, and the child's own settings in their place. */
export function childEnvironment(
  environment: Environment,
  inheritance: Inheritance,
  platform: NodeJS.Platform = here.platform,
): Record<string, string> {
  const { parentHome, gateway, rewritten, keep, sandbox, settings } = inheritance
  const replaced = parentHome !== null || 'PGSERVICEFILE' in settings
  const secret = (name: string, value: string): boolean =>
    roots.test(name) || isTokenFor(gateway, value) || (tokens.test(name) && !named(keep, name, platform))
  const present = Object.entries(environment).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  )
  // Copies of them under other names (`NODE_AUTH_TOKEN`, a URL with the token in it) are the same thing.
  const values = present
    .filter(
      ([name, value]) =>
        secret(name, value) && !/^HOOP_(?!.*TOKEN$)/i.test(name) && value.length >= shortestCopy,
    )
    .map(([, value]) => value)
  const kept: Record<string, string> = {}
  for (const [name, value] of present) {
    if (secret(name, value)) continue
    if (replaced && libpq.test(name)) continue
    if (named(rewritten, name, platform)) continue
    // Of two that differ in case only, Windows would take either.
    if (named(Object.keys(settings), name, platform)) continue
    if (sandbox && hiddenVariables.test(name)) continue
    if (parentHome !== null && namesFileIn(parentHome, value) && !places.test(name)) continue
    if (!named(keep, name, platform) && values.some((one) => value.includes(one))) continue
    kept[name] = value
  }
  return { ...kept, ...settings }
}

/** True for a JWT (RFC 7519) whose audience is the gateway. */
function isTokenFor(gateway: string, value: string): boolean {
  const [, payload] = /^[\w-]+\.([\w-]+)\.[\w-]+$/.exec(value.trim()) ?? []
  if (payload === undefined) return false
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString())
    const aud = typeof claims === 'object' && claims !== null && 'aud' in claims ? claims.aud : undefined
    return [aud].flat().includes(gateway)
  } catch {
    return false // three words with points between them
  }
}
