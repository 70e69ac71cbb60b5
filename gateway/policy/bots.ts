import type { Config } from './schema.ts'

/** One of `bots:`, and the names of all who may have it start a job for them. */
export interface Bot {
  readonly name: string
  readonly behind: ReadonlySet<string>
}

/** The entry of `bots:` of an account or a cause, or null when hoop.yaml does not know it. */
export function botOf(
  { kind, id }: { readonly kind: string; readonly id: string },
  config: Pick<Config, 'bots' | 'approvers'>,
): Bot | null {
  for (const [name, { behind, ...accounts }] of Object.entries(config.bots)) {
    const own = Object.entries(accounts).find(([key]) => key === kind)?.[1]
    // Some controllers tell users by the case of their letters, and others do not.
    if (own === undefined || String(own).toLowerCase() !== id.toLowerCase()) continue
    return { name, behind: new Set(behind === 'nobody' ? [] : behind.flatMap((each) => all(each, config))) }
  }
  return null
}

/** A person, and everybody of the group of that name. */
function all(name: string, { approvers }: Pick<Config, 'approvers'>): readonly string[] {
  return [name, ...(Object.hasOwn(approvers, name) ? (approvers[name]?.members ?? []) : [])]
}
