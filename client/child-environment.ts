import { wrongUsage } from './error.ts'

type Environment = Readonly<Record<string, string | undefined>>

// Each of these is worth an identity of its own, or the job's rights at its platform.
const roots =
  /^(ACTIONS_ID_TOKEN_REQUEST_(TOKEN|URL)|ACTIONS_RUNTIME_TOKEN|.*_ID_TOKEN|ID_TOKEN|CI_JOB_JWT(_V\d)?|HOOP_.*)$/i
const tokens = /^(GITHUB_TOKEN|GH_TOKEN|CI_JOB_TOKEN)$/i
// What leads libpq anywhere or proves anything there.
const libpq =
  /^(PGHOST|PGHOSTADDR|PGPORT|PGUSER|PGDATABASE|PGPASSWORD|PGPASSFILE|PGSERVICE|PGSERVICEFILE|PGSSL[A-Z]*|PGGSSENCMODE)$/i
// Where something happens to be, not what a program reads credentials from.
const places = /^(PATH|PWD|OLDPWD|_)$/i

/** What decides which variables a child sees. */
export interface Inheritance {
  /** The parent's private folder, or null when the child's identity is the job's first. */
  readonly parentHome: string | null
  /** Variables that led the parent to a connection. */
  readonly rewritten: readonly string[]
  /** Platform tokens that the child may have all the same; see `checkKept`. */
  readonly keep: readonly string[]
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

/** The environment without the parent's identity and without platform tokens, and the child's own settings in their place. */
export function childEnvironment(environment: Environment, inheritance: Inheritance): Record<string, string> {
  const { parentHome, rewritten, keep, settings } = inheritance
  const replaced = parentHome !== null || 'PGSERVICEFILE' in settings
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || roots.test(name)) continue
    if (tokens.test(name) && !keep.includes(name)) continue
    if (replaced && libpq.test(name)) continue
    if (rewritten.includes(name)) continue
    if (parentHome !== null && value.includes(parentHome) && !places.test(name)) continue
    kept[name] = value
  }
  return { ...kept, ...settings }
}
