import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import type { Origin } from '../../core/identity.ts'
import { type Github, lying } from '../../platforms/github.ts'
import type { GithubApps } from '../../platforms/github-apps.ts'
import { readRun } from '../../platforms/github-runs.ts'
import type { Alarm, AnswerDesk, ApprovalGate, Posted, Posting } from './gate.ts'
import { alarmIn, visible } from './words.ts'

const NAME = 'github-pull-request'
const LOOK_MS = 20_000
/** How far GitHub's clock and ours may be apart: it gives whole seconds, and an id that nobody knew before tells the same. */
const SKEW_MS = 60_000
const PAGES = 10

const user = z.object({ id: z.int(), login: z.string(), type: z.string() })
const pullShape = z.object({
  number: z.int(),
  state: z.string(),
  user: user.nullable(),
  head: z.object({ sha: z.string() }),
  base: z.object({ repo: z.object({ id: z.int(), full_name: z.string() }) }),
})
const reviewShape = z.object({
  id: z.int(),
  node_id: z.string(),
  user: user.nullable(),
  body: z.string(),
  state: z.string(),
  commit_id: z.string().nullable(),
  submitted_at: z.string().optional(),
})
const checkShape = z.object({ id: z.int(), html_url: z.string().nullable(), head_sha: z.string() })
type Check = z.output<typeof checkShape>
const checksShape = z.object({
  check_runs: z.array(
    checkShape.extend({ external_id: z.string().nullable(), app: z.object({ id: z.int() }).nullable() }),
  ),
})
const editedShape = z.object({
  data: z.object({
    node: z.object({
      id: z.string(),
      body: z.string(),
      lastEditedAt: z.string().nullable(),
      author: z.object({ databaseId: z.int().optional() }).nullable(),
    }),
  }),
})
const handleShape = z.object({
  repository: z.string(),
  repositoryId: z.int(),
  sha: z.string(),
  check: z.int(),
})
type Handle = z.output<typeof handleShape>
type Review = z.output<typeof reviewShape>

const conclusions = {
  pending: 'neutral',
  approved: 'success',
  used: 'success',
  denied: 'failure',
  expired: 'timed_out',
  withdrawn: 'cancelled',
} as const

const editedQuery = `query ($id: ID!) {
  node(id: $id) { ... on PullRequestReview { id body lastEditedAt author { ... on User { databaseId } } } }
}`

/**
 * Asks by a check run on the commit that the job runs, and takes a review of the pull request whose head that commit is.
 * A review is of everything that waits, so its text has to name the approval's id; whoever may write to a repository may
 * edit what others wrote, so an edited review says nothing.
 */
export class GithubPullRequestGate implements ApprovalGate {
  readonly name = NAME
  readonly lookEvery = LOOK_MS
  readonly #apps: GithubApps
  readonly #desk: AnswerDesk
  readonly #waiting = new Map<string, string>()

  constructor(options: { readonly apps: GithubApps; readonly desk: AnswerDesk }) {
    this.#apps = options.apps
    this.#desk = options.desk
  }

  async announce(posting: Posting): Promise<Posted> {
    const { approval, signal } = posting
    const { github, repository, sha } = await this.#commitOf(posting)
    const pulls = await pullsOf(github, { repository, sha, signal })
    if (pulls.length === 0) {
      throw new Refused(
        'upstream_failed',
        `no open pull request has ${sha.slice(0, 12)} as its head`,
        'answer by another gate, or run the job for a pull request',
      )
    }
    const check = await github.ask(checkShape, {
      repository,
      permissions: { checks: 'write' },
      method: 'POST',
      path: '/check-runs',
      body: {
        name: 'Hoop Access approval',
        head_sha: sha,
        status: 'in_progress',
        details_url: approval.url,
        external_id: approval.id,
        output: summaryOf(
          posting,
          `Review the pull request (approve, or request changes) with \`${approval.id}\` in the text of the review.`,
        ),
      },
      signal,
    })
    if (check.head_sha !== sha) throw lying('the check run is on another commit')
    return this.#posted(posting, check)
  }

  async find(posting: Posting): Promise<Posted | null> {
    const { approval, signal } = posting
    const check = await checkOf(await this.#commitOf(posting), approval.id, signal)
    return check === null ? null : this.#posted(posting, check)
  }

  #posted({ approval, origin }: Posting, { id, head_sha: sha, html_url: url }: Check): Posted {
    const { repository, repositoryId } = jobOf(origin, this.#apps)
    const handle: Handle = { repository, repositoryId: Number(repositoryId), sha, check: id }
    this.#waiting.set(approval.id, `${repositoryId} ${sha}`)
    return { handle: JSON.stringify(handle), ...(url !== null && { url }) }
  }

  /** The commit that the job runs. */
  async #commitOf({ origin, signal }: Posting): Promise<Commit> {
    const { github, repository, run, repositoryId } = jobOf(origin, this.#apps)
    const { head_sha: sha, repository: found } = await readRun(github, { repository, id: run, signal })
    if (String(found.id) !== repositoryId) throw lying('it is about another repository')
    return { github, repository, sha }
  }

  async look(posting: Posting): Promise<void> {
    const { repository, repositoryId, sha } = readHandle(posting)
    const { approval, signal, groups, origin } = posting
    this.#waiting.set(approval.id, `${repositoryId} ${sha}`)
    const { github } = jobOf(origin, this.#apps)
    const pulls = await pullsOf(github, { repository, sha, signal })
    if (pulls.length === 0) {
      throw new Refused(
        'denied',
        `${sha.slice(0, 12)} is the head of no open pull request any more`,
        'answer by another gate, or run the job for the new head',
      )
    }
    let refused: unknown = null
    for (const pull of pulls) {
      if (pull.base.repo.id !== repositoryId) throw lying('the pull request is of another repository')
      const since = Date.parse(approval.requested_at) - SKEW_MS
      const asked = { id: approval.id, sha, since, author: pull.user?.id }
      const reviews = await reviewsOf(github, { repository, pull: pull.number, signal })
      // What somebody said last is what they say, and nothing once it is dismissed; who wants changes is heard first.
      const last = new Map(
        reviews.filter((review) => speaksOf(review, asked)).map((review) => [review.user?.id, review]),
      )
      const said = [...last.values()].filter(({ state }) => state !== 'DISMISSED')
      for (const review of said.toSorted((a, b) => b.state.localeCompare(a.state))) {
        const account = { kind: 'github', id: await confirm(github, repository, review, signal) } as const
        const answer = review.state === 'APPROVED' ? 'approve' : 'deny'
        const reason = review.body.replaceAll(approval.id, '').trim()
        try {
          await this.#desk.answer(approval.id, { account, gate: NAME, groups, answer, reason })
        } catch (error) {
          refused ??= error
        }
      }
    }
    if (refused !== null) throw refused
  }

  async conclude(posting: Posting): Promise<void> {
    const { approval, signal, origin } = posting
    this.#waiting.delete(approval.id)
    const { repository, check } = readHandle(posting)
    const { github } = jobOf(origin, this.#apps)
    const people = approval.answers.map(({ person, answer }) => `${person}: ${answer}`).join(', ')
    await github.ask(z.object({ id: z.literal(check) }), {
      repository,
      permissions: { checks: 'write' },
      method: 'PATCH',
      path: `/check-runs/${check}`,
      body: {
        status: 'completed',
        conclusion: conclusions[approval.state],
        output: summaryOf(
          posting,
          `It is ${approval.state === 'used' ? 'approved' : approval.state}${people === '' ? '' : ` (${people})`}.`,
        ),
      },
      signal,
    })
  }

  /** On the commit that the job runs, whatever group was asked; jobs of other platforms have none. */
  async alarm(alarm: Alarm): Promise<void> {
    const { approval, origin, glass, delivery, signal } = alarm
    if (origin?.platform !== 'github' || !this.#apps.has(origin.issuer)) return
    const commit = await this.#commitOf(alarm)
    // Told again, it is there already.
    if ((await checkOf(commit, delivery, signal)) !== null) return
    const { github, repository, sha } = commit
    await github.ask(checkShape, {
      repository,
      permissions: { checks: 'write' },
      method: 'POST',
      path: '/check-runs',
      body: {
        name: 'Hoop Access: the glass was broken',
        head_sha: sha,
        status: 'completed',
        conclusion: 'failure',
        details_url: approval.url,
        external_id: delivery,
        output: summaryOf(
          alarm,
          `${visible(alarmIn(glass))}. It went through without the people whom the rule asks.`,
        ),
      },
      signal,
    })
  }

  /** Somebody reviewed a commit. */
  nudge(repositoryId: number, sha: string): void {
    for (const [approval, commit] of this.#waiting)
      if (commit === `${repositoryId} ${sha}`) this.#desk.look(approval, NAME)
  }
}

interface Commit {
  readonly github: Github
  readonly repository: string
  readonly sha: string
}

/** The App's own check run of a commit that carries this id, which any App may write; null when there is none. */
async function checkOf(
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

/** A review by somebody other than the author, of this commit, from after the question, that names it. */
function speaksOf(
  review: Review,
  asked: {
    readonly id: string
    readonly sha: string
    readonly since: number
    readonly author: number | undefined
  },
): boolean {
  const { user: by, body, state, commit_id: commit, submitted_at: at } = review
  if (by === null || by.type !== 'User' || by.id === asked.author) return false
  if (!['APPROVED', 'CHANGES_REQUESTED', 'DISMISSED'].includes(state)) return false
  if (commit !== asked.sha || at === undefined || Date.parse(at) < asked.since) return false
  return body.split(/[^\w]+/).includes(asked.id)
}

/** The id of the account that wrote a review which nobody has edited; REST does not tell of edits. */
async function confirm(
  github: Github,
  repository: string,
  review: Review,
  signal: AbortSignal,
): Promise<number> {
  const { data } = await github.ask(editedShape, {
    repository,
    permissions: { pull_requests: 'read' },
    method: 'POST',
    path: '/graphql',
    body: { query: editedQuery, variables: { id: review.node_id } },
    signal,
  })
  const { id, lastEditedAt, author, body } = data.node
  if (id !== review.node_id || body !== review.body || author?.databaseId !== review.user?.id)
    throw lying('it is about another review')
  if (lastEditedAt !== null) {
    throw new Refused(
      'denied',
      `review ${review.id} was edited after it was given, which others may do too`,
      'review again, with the id in the text',
    )
  }
  return author?.databaseId ?? Number.NaN
}

async function pullsOf(
  github: Github,
  {
    repository,
    sha,
    signal,
  }: { readonly repository: string; readonly sha: string; readonly signal: AbortSignal },
): Promise<readonly z.output<typeof pullShape>[]> {
  const found = await github.ask(z.array(pullShape), {
    repository,
    permissions: { pull_requests: 'read' },
    path: `/commits/${sha}/pulls?per_page=100`,
    signal,
  })
  return found.filter(({ state, head }) => state === 'open' && head.sha === sha)
}

async function reviewsOf(
  github: Github,
  {
    repository,
    pull,
    signal,
  }: { readonly repository: string; readonly pull: number; readonly signal: AbortSignal },
): Promise<readonly Review[]> {
  const reviews: Review[] = []
  for (let page = 1; page <= PAGES; page++) {
    const found = await github.ask(z.array(reviewShape), {
      repository,
      permissions: { pull_requests: 'read' },
      path: `/pulls/${pull}/reviews?per_page=100&page=${page}`,
      signal,
    })
    reviews.push(...found)
    if (found.length < 100) return reviews
  }
  // Somebody may have written so many to push what another said out of sight.
  throw new Refused(
    'denied',
    `pull request ${pull} has more than the ${PAGES * 100} reviews that are read`,
    'answer by another gate',
  )
}

function jobOf(
  origin: Origin | null,
  apps: GithubApps,
): { github: Github; repository: string; repositoryId: string; run: string } {
  const github = origin === null ? undefined : apps.get(origin.issuer)
  const { repository, repository_id: repositoryId, run_id: run } = origin?.claims ?? {}
  if (github !== undefined && repository !== undefined && repositoryId !== undefined && run !== undefined)
    return { github, repository, repositoryId, run }
  throw new Refused(
    'unsupported',
    'the job is not of a GitHub issuer with an `app`, so there is no pull request to ask on',
    'answer by another gate',
  )
}

/** What a check run may say to everybody who reads the repository: what is done to what, and not the statement. */
function summaryOf({ approval, groups }: Posting, how: string): object {
  const what = approval.operations.map(({ action, resource }) => `${action} ${resource}`.trim()).join(', ')
  return {
    title: `${what} on ${approval.connection}`.slice(0, 200),
    summary: [
      how,
      '',
      `Asked of ${groups.join(', ')} by rule \`${approval.rule}\`, until ${approval.expires_at}.`,
      `What exactly is asked: ${approval.url}`,
    ].join('\n'),
  }
}

function readHandle({ handle }: Posting): Handle {
  return handleShape.parse(JSON.parse(handle ?? 'null'))
}
