import { z } from 'zod'
import { type Github, lying } from './github.ts'

const PAGES = 10

const checkShape = z.object({ id: z.int(), html_url: z.string().nullable(), head_sha: z.string() })
/** A check run (https://docs.github.com/en/rest/checks/runs). */
export type Check = z.output<typeof checkShape>
const checksShape = z.object({
  check_runs: z.array(
    checkShape.extend({ external_id: z.string().nullable(), app: z.object({ id: z.int() }).nullable() }),
  ),
})

/** A commit of a repository that the App can see. */
export interface Commit {
  readonly github: Github
  readonly repository: string
  readonly sha: string
}

/** The App's own check run of a commit that carries this id, which any App may write; null when there is none. */
export async function findCheck(
  { github, repository, sha }: Commit,
  id: string,
  signal: AbortSignal,
): Promise<Check | null> {
  for (let page = 1; page <= PAGES; page++) {
    const { check_runs: checks } = await github.ask(checksShape, {
      repository,
      permissions: { checks: 'write' },
      path: `/commits/${sha}/check-runs?app_id=${github.id}&filter=all&per_page=100&page=${page}`,
      signal,
    })
    const own = checks.find(
      ({ external_id: external, app, head_sha: on }) =>
        external === id && app?.id === github.id && on === sha,
    )
    if (own !== undefined) return own
    if (checks.length < 100) break
  }
  return null
}

/** Puts a check run on a commit; `about` is what GitHub calls it. */
export async function createCheck(
  { github, repository, sha }: Commit,
  about: object,
  signal: AbortSignal,
): Promise<Check> {
  const check = await github.ask(checkShape, {
    repository,
    permissions: { checks: 'write' },
    method: 'POST',
    path: '/check-runs',
    body: { ...about, head_sha: sha },
    signal,
  })
  if (check.head_sha !== sha) throw lying('the check run is on another commit')
  return check
}

/** Ends a check run of the App's own. */
export async function completeCheck(
  { github, repository, check }: Pick<Commit, 'github' | 'repository'> & { readonly check: number },
  outcome: object,
  signal: AbortSignal,
): Promise<void> {
  await github.ask(z.object({ id: z.literal(check) }), {
    repository,
    permissions: { checks: 'write' },
    method: 'PATCH',
    path: `/check-runs/${check}`,
    body: { status: 'completed', ...outcome },
    signal,
  })
}
