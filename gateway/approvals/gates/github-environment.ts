import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import type { PlatformToken } from '../../identity/issuers.ts'
import type { Github } from '../../platforms/github.ts'
import {
  type ProtectedEnvironment,
  type Run,
  readProtected,
  readReviews,
} from '../../platforms/github-runs.ts'
import type { Outcome } from '../approval.ts'
import type { AnswerDesk, ApprovalGate, Posted, Posting } from './gate.ts'
import { ApprovalRuns, type Dispatch, type EnvironmentOptions } from './github-dispatch.ts'

const NAME = 'github-environment'
const LOOK_MS = 20_000
/** Runs remembered, for webhooks to find their approval by. */
const RUNS_KEPT = 10_000

const handleShape = z.object({ run: z.int().nullable(), since: z.int() })

/**
 * Asks by a workflow of which the one job waits in a protected environment: people use GitHub's own review button. The run is
 * dispatched by the App, one for each approval, and only its first attempt counts. What proves that it was let through is the
 * job's own ID token; whose answers count is read from the run's approvals.
 */
export class GithubEnvironmentGate implements ApprovalGate {
  readonly name = NAME
  readonly lookEvery = LOOK_MS
  readonly #github: Github
  readonly #issuer: string
  readonly #desk: AnswerDesk
  /** What waits: by the approval's id, then by entry, for two groups may ask in two environments. */
  readonly #postings = new Map<string, Map<string, Posting>>()
  readonly #runs = new Map<number, string>()
  /** Why a report did not count, until it is shown. */
  readonly #refused = new Map<string, Refused>()

  /** `issuer` is the name of the issuer whose App it is. */
  constructor(options: { readonly github: Github; readonly issuer: string; readonly desk: AnswerDesk }) {
    this.#github = options.github
    this.#issuer = options.issuer
    this.#desk = options.desk
  }

  async announce(posting: Posting): Promise<Posted> {
    const { repository, environment } = optionsOf(posting)
    await readProtected(this.#github, { repository, environment, signal: posting.signal })
    const { url, ...dispatch } = await this.#runsOf(posting).dispatch()
    return this.#remember(posting, dispatch, url)
  }

  async find(posting: Posting & { readonly triedAt: number }): Promise<Posted | null> {
    const { triedAt: since } = posting
    const runs = this.#runsOf(posting)
    const [run, ...others] = await runs.own(since)
    if (run === undefined) return null
    // Nobody should review one that counts for nothing.
    for (const other of others) if (other.status !== 'completed') await runs.cancel(other.id)
    return this.#remember(posting, { run: run.id, since }, run.html_url)
  }

  /** Sees whether somebody said no: that needs no further proof. A yes is proved by the run's own job. */
  async look(posting: Posting): Promise<void> {
    // Known at once, before GitHub has answered anything: after a restart the run's job may report any moment.
    this.#remember(posting, readHandle(this.#known(posting)))
    const { environment, run } = await this.#find(posting)
    const { repository } = optionsOf(posting)
    const { signal } = posting
    const reviews = await readReviews(this.#github, { repository, run: run.id, environment, signal })
    for (const { state, user, comment } of reviews) {
      if (state !== 'rejected') continue
      await this.#answer(posting, { id: user.id, answer: 'deny', reason: comment })
      return
    }
    const refused = this.#refused.get(posting.approval.id)
    if (refused !== undefined) throw refused
    if (run.status === 'completed') {
      throw new Refused(
        'upstream_failed',
        `run ${run.id} ended (${run.conclusion ?? 'without a conclusion'}) and reported no approval`,
        'answer by another gate, or repeat the request',
      )
    }
  }

  async conclude(posting: Posting): Promise<void> {
    const { approval } = posting
    const { run: id, since } = readHandle(this.#known(posting))
    this.#postings.delete(approval.id)
    this.#refused.delete(approval.id)
    if (id !== null) this.#runs.delete(id)
    const runs = this.#runsOf(posting)
    const run = id === null ? (await runs.own(since))[0] : await runs.read(id)
    // What was let through here ends by itself; else nobody is left looking at a question that is over.
    const here = approval.answers.some(({ gate, answer }) => gate === NAME && answer === 'approve')
    if (run === undefined || run.status === 'completed' || here) return
    await runs.cancel(run.id)
  }

  /** Something happened to a run. */
  nudge(run: number): void {
    const approval = this.#runs.get(run)
    if (approval !== undefined) this.#desk.look(approval, NAME)
  }

  /** The run's job reports that it was let through, by its ID token, verified: the people who did it answer. */
  async report(
    approval: string,
    token: PlatformToken,
    spend: (approval: string) => Promise<void>,
  ): Promise<Outcome> {
    const postings = [...(this.#postings.get(approval)?.values() ?? [])]
    const same = (posting: Posting): boolean => {
      const { repository, environment } = optionsOf(posting)
      return (
        sameName(token.claims['repository'], repository) && sameName(token.claims['environment'], environment)
      )
    }
    const posting = postings.find(same)
    if (posting === undefined)
      throw stranger('nothing of this id waits in this environment of this repository')
    try {
      return await this.#accept(posting, token, spend)
    } catch (error) {
      if (error instanceof Refused) this.#refused.set(approval, error)
      this.#desk.look(approval, NAME)
      throw error
    }
  }

  async #accept(
    posting: Posting,
    { issuer, claims }: PlatformToken,
    spend: (approval: string) => Promise<void>,
  ): Promise<Outcome> {
    const { repository, branch, workflow } = optionsOf(posting)
    // Branches and files whose names differ in case are different ones; repositories are not.
    const file = `/.github/workflows/${workflow}@refs/heads/${branch}`
    const wanted = { event_name: 'workflow_dispatch', ref: `refs/heads/${branch}`, run_attempt: '1' }
    if (issuer !== this.#issuer) throw stranger('its issuer is not the one whose App asks')
    for (const [name, value] of Object.entries(wanted))
      if (claims[name] !== value) throw stranger(`its ${name} is not ${value}`)
    for (const name of ['workflow_ref', 'job_workflow_ref']) {
      const value = String(claims[name])
      if (!value.endsWith(file) || !sameName(value.slice(0, -file.length), repository))
        throw stranger(`its ${name} is not ${repository}${file}`)
    }
    const signal = AbortSignal.timeout(30_000)
    const { environment, run } = await this.#find({ ...posting, signal })
    if (String(claims['run_id']) !== String(run.id)) throw stranger(`it is of another run than ${run.id}`)
    if (String(claims['repository_id']) !== String(run.repository.id))
      throw stranger('it is of another repository')
    const reviews = await readReviews(this.#github, { repository, run: run.id, environment, signal })
    if (!reviews.some(({ state }) => state === 'approved')) throw stranger(`nobody approved run ${run.id}`)
    await spend(posting.approval.id)
    let outcome: Outcome | null = null
    let refused: unknown = null
    // Who said no is heard first.
    for (const { state, user, comment } of reviews.toSorted((a, b) => b.state.localeCompare(a.state))) {
      if (outcome?.kind === 'decided') break
      const answer = state === 'approved' ? 'approve' : 'deny'
      try {
        outcome = await this.#answer(posting, { id: user.id, answer, reason: comment })
      } catch (error) {
        // One of several may be nobody here; the others count all the same.
        refused ??= error
      }
    }
    if (outcome === null) throw refused
    return outcome
  }

  #answer(
    { approval, groups }: Posting,
    {
      id,
      answer,
      reason,
    }: { readonly id: number; readonly answer: 'approve' | 'deny'; readonly reason: string },
  ): Promise<Outcome> {
    return this.#desk.answer(approval.id, {
      account: { kind: 'github', id },
      gate: NAME,
      groups,
      answer,
      reason,
    })
  }

  #known(posting: Posting): Posting {
    return this.#postings.get(posting.approval.id)?.get(keyOf(posting)) ?? posting
  }

  #runsOf(posting: Posting): ApprovalRuns {
    const { approval, signal } = posting
    return new ApprovalRuns(this.#github, { approval: approval.id, options: optionsOf(posting), signal })
  }

  /** The run that came of the dispatch, and its environment; both as they should be. */
  async #find(posting: Posting): Promise<{ run: Run; environment: ProtectedEnvironment }> {
    const { repository, environment: name } = optionsOf(posting)
    const dispatch = readHandle(this.#known(posting))
    const { signal } = posting
    const environment = await readProtected(this.#github, { repository, environment: name, signal })
    const run = await this.#runsOf(posting).find(dispatch)
    this.#remember(posting, { run: run.id, since: dispatch.since })
    return { run, environment }
  }

  #remember(posting: Posting, found: Dispatch, url?: string): Posted {
    const handle = JSON.stringify(found)
    const ofApproval = this.#postings.get(posting.approval.id) ?? new Map<string, Posting>()
    this.#postings.set(posting.approval.id, ofApproval.set(keyOf(posting), { ...posting, handle }))
    if (found.run !== null) {
      if (this.#runs.size >= RUNS_KEPT) this.#runs.clear()
      this.#runs.set(found.run, posting.approval.id)
    }
    return { handle, ...(url !== undefined && URL.canParse(url) && { url }) }
  }
}

const keyOf = ({ entry }: Posting): string => JSON.stringify(entry)

/** GitHub keeps the case of names of owners, repositories and environments, and compares without it. */
function sameName(given: unknown, wanted: string): boolean {
  return typeof given === 'string' && given.toLowerCase() === wanted.toLowerCase()
}

function optionsOf({ entry }: Posting): EnvironmentOptions {
  if (NAME in entry) return entry[NAME]
  throw new Refused(
    'internal',
    'an entry of another gate was given',
    'report this: it is a fault of the gateway',
  )
}

function readHandle({ handle }: Posting): Dispatch {
  const parsed = handleShape.safeParse(JSON.parse(handle ?? 'null'))
  return parsed.data ?? { run: null, since: 0 }
}

function stranger(why: string): Refused {
  return new Refused(
    'denied',
    `the report does not release the approval: ${why}`,
    'see docs/guide/approvals.md for the workflow that the gateway dispatches',
  )
}
