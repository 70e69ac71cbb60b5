import { z } from 'zod'
import { operationWords } from '../../core/contract.ts'
import { Refused } from '../../core/errors.ts'
import type { Origin } from '../../core/identity.ts'
import { type Github, lying } from '../../platforms/github.ts'
import type { GithubApps } from '../../platforms/github-apps.ts'
import {
  type Check,
  type Commit,
  completeCheck,
  createCheck,
  findCheck,
} from '../../platforms/github-checks.ts'
import { type Review, authorOf, openPulls, readPullReviews } from '../../platforms/github-pulls.ts'
import { readRun } from '../../platforms/github-runs.ts'
import type { Alarm, AnswerDesk, ApprovalGate, Posted, Posting } from './gate.ts'
import { alarmIn, visible } from './words.ts'

const NAME = 'github-pull-request'
const LOOK_MS = 20_000
/** How far GitHub's clock and ours may be apart: it gives whole seconds, and an id that nobody knew before tells the same. */
const SKEW_MS = 60_000

const handleShape = z.object({
  repository: z.string(),
  repositoryId: z.int(),
  sha: z.string(),
  check: z.int(),
})
type Handle = z.output<typeof handleShape>

const conclusions = {
  pending: 'neutral',
  approved: 'success',
  used: 'success',
  denied: 'failure',
  expired: 'timed_out',
  withdrawn: 'cancelled',
} as const

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
    const pulls = await openPulls(github, { repository, sha, signal })
    if (pulls.length === 0) {
      throw new Refused(
        'upstream_failed',
        `no open pull request has ${sha.slice(0, 12)} as its head`,
        'answer by another gate, or run the job for a pull request',
      )
    }
    const check = await createCheck(
      { github, repository, sha },
      {
        name: 'Hoop Access approval',
        status: 'in_progress',
        details_url: approval.url,
        external_id: approval.id,
        output: summaryOf(
          posting,
          `Review the pull request (approve, or request changes) with \`${approval.id}\` in the text of the review.`,
        ),
      },
      signal,
    )
    return this.#posted(posting, check)
  }

  async find(posting: Posting): Promise<Posted | null> {
    const { approval, signal } = posting
    const check = await findCheck(await this.#commitOf(posting), approval.id, signal)
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
    const pulls = await openPulls(github, { repository, sha, signal })
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
      const reviews = await readPullReviews(github, { repository, pull: pull.number, signal })
      // What somebody said last is what they say, and nothing once it is dismissed; who wants changes is heard first.
      const last = new Map(
        reviews.filter((review) => speaksOf(review, asked)).map((review) => [review.user?.id, review]),
      )
      const said = [...last.values()].filter(({ state }) => state !== 'DISMISSED')
      for (const review of said.toSorted((a, b) => b.state.localeCompare(a.state))) {
        const account = { kind: 'github', id: await authorOf(github, repository, review, signal) } as const
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
    await completeCheck(
      { github, repository, check },
      {
        conclusion: conclusions[approval.state],
        output: summaryOf(
          posting,
          `It is ${approval.state === 'used' ? 'approved' : approval.state}${people === '' ? '' : ` (${people})`}.`,
        ),
      },
      signal,
    )
  }

  /** On the commit that the job runs, whatever group was asked; jobs of other platforms have none. */
  async alarm(alarm: Alarm): Promise<void> {
    const { approval, origin, glass, delivery, signal } = alarm
    if (origin?.platform !== 'github' || !this.#apps.has(origin.issuer)) return
    const commit = await this.#commitOf(alarm)
    // Told again, it is there already.
    if ((await findCheck(commit, delivery, signal)) !== null) return
    await createCheck(
      commit,
      {
        name: 'Hoop Access: the glass was broken',
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
    )
  }

  /** Somebody reviewed a commit. */
  nudge(repositoryId: number, sha: string): void {
    for (const [approval, commit] of this.#waiting)
      if (commit === `${repositoryId} ${sha}`) this.#desk.look(approval, NAME)
  }
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
  const what = approval.operations.map(operationWords).join(', ')
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
