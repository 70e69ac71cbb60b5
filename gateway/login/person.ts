import type { Config } from '../policy/schema.ts'

/** Who somebody is that logged in, by hoop.yaml as it is at this moment. */
export interface Person {
  /** The name in `people:`; null for an account that is nobody's there, and has a role all the same. */
  readonly name: string | null
  /** What is shown of them: the name, else their email or `sub`. */
  readonly shown: string
  readonly roles: readonly Role[]
}

export type Role = 'admin' | 'auditor'

const roles: readonly Role[] = ['admin', 'auditor']

/**
 * Whose a login is: by the `oidc` of a person, else by their email if the issuer has verified it. Null when it is
 * nobody's and has no role.
 */
export function personBy(claims: Readonly<Record<string, unknown>>, config: Config): Person | null {
  // A `sub` is unique at its issuer only, and a verified email is that issuer's word.
  if (claims['iss'] === undefined || claims['iss'] !== config.console?.login?.issuer) return null
  const name = nameBy(claims, config)
  const held = roles.filter((role) =>
    config.console?.roles?.[role]?.some((entry) =>
      Object.entries(entry.claims).every(([claim, wanted]) => has(claims, claim, wanted)),
    ),
  )
  if (name === null && held.length === 0) return null
  return { name, shown: name ?? accountOf(claims), roles: held }
}

/** How an account is called in words: its email, verified or not, else its `sub`. */
export function accountOf(claims: Readonly<Record<string, unknown>>): string {
  const { email, sub } = claims
  return typeof email === 'string' ? email : String(sub)
}

/** The claims that hoop.yaml can ask about: no more of somebody is kept. */
export function claimsToKeep(
  claims: Readonly<Record<string, unknown>>,
  config: Config,
): Record<string, unknown> {
  const wanted = new Set(['iss', 'sub', 'email', 'email_verified'])
  for (const role of roles)
    for (const entry of config.console?.roles?.[role] ?? [])
      for (const claim of Object.keys(entry.claims)) wanted.add(claim)
  return Object.fromEntries(Object.entries(claims).filter(([claim]) => wanted.has(claim)))
}

function nameBy(claims: Readonly<Record<string, unknown>>, config: Config): string | null {
  const { sub, email, email_verified: verified } = claims
  const people = Object.entries(config.people)
  for (const [name, person] of people) if (person.oidc !== undefined && person.oidc === sub) return name
  // Anybody can write an email into a profile: only one that the issuer has verified says who it is.
  if (typeof email !== 'string' || verified !== true) return null
  for (const [name, person] of people) {
    // Who is named by `sub` is named by that alone: an address can be given to somebody else.
    if (person.oidc === undefined && person.email?.toLowerCase() === email.toLowerCase()) return name
  }
  return null
}

/** A claim is text, or a list with the text in it (groups). */
function has(claims: Readonly<Record<string, unknown>>, claim: string, wanted: string): boolean {
  const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined
  // An address that is not verified gives no role either.
  if (claim === 'email' && claims['email_verified'] !== true) return false
  if (Array.isArray(value)) return value.includes(wanted)
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value) === wanted
    : false
}
