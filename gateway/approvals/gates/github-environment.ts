import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import type { PlatformToken } from '../../identity/issuers.ts'
import { TryLater } from '../../platforms/call.ts'
import { type Github, lying } from '../../platforms/github.ts'
import { type Run, dispatchedRuns, readProtected, readReviews, readRun } from '../../platforms/github-runs.ts'
import type { Outcome } from '../approval.ts'
import type { AnswerDesk, ApprovalGate, GateEntry, Posted, Posting } from './gate.ts'

type Options = Extract<GateEntry, { 'github-environment': unknown }>['github-environment']

const NAME = 'github-environment'
const LOOK_MS = 20_000
/** How far GitHub's clock and ours may be apart when a run is looked for. */
const SKEW_MS = 120_000
/** Runs remembered, for webhooks to find their approval by. */
const RUNS_KEPT = 10_000

/** What is kept of a dispatch: `run` is null until it is known which run came of it. */
const handleShape = z.object({ run: z.int().nullable(), since: z.int() })
const dispatchShape = z.object({ workflow_run_id: z.int(), html_url: z.string() })

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
    const options = optionsOf(posting)
    const { repository, workflow, branch, environment } = options
    const { signal, approval } = posting
    await readProtected(this.#github, { repository, environment, signal })
    const since = Date.now()
    const dispatch = (more: object) =>
      this.#github.send({
        repository,
        permissions: { actions: 'write' },
        method: 'POST',
        path: `/actions/workflows/${encodeURIComponent(workflow)}/dispatches`,
        // Only the id: names and inputs of runs are for everybody to read who may read the repository.
        body: { ref: branch, inputs: { approval: approval.id }, ...more },
        signal,
      })
    const first = await dispatch({ return_run_details: true })
    // Servers from before 2026-02 refuse the field.
    const { status, json } = first.status === 422 ? await dispatch({}) : first
    if (status === 204) return this.#remember(posting, { run: null, since })
    const made = dispatchShape.safeParse(json)
    if (status === 200 && !made.success) throw lying('it does not tell which run was dispatched')
    if (!made.success) {
      throw new Refused(
        'upstream_failed',
        `GitHub answers ${status} when workflow ${workflow} of ${repository} is dispatched on ${branch}`,
        'check that the file is there, has `workflow_dispatch` with the input `approval`, and that the App may write Actions',
      )
    }
    return this.#remember(posting, { run: made.data.workflow_run_id, since }, made.data.html_url)
  }

  async find(posting: Posting & { readonly triedAt: number }): Promise<Posted | null> {
    const { triedAt: since } = posting
    const [run, ...others] = await this.#ownRuns(posting, since)
    if (run === undefined) return null
    // Nobody should review one that counts for nothing.
    for (const other of others) if (other.status !== 'completed') await this.#cancel(posting, other.id)
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
    const { approval, signal } = posting
    const { run: id, since } = readHandle(this.#known(posting))
    this.#postings.delete(approval.id)
    this.#refused.delete(approval.id)
    if (id !== null) this.#runs.delete(id)
    const { repository } = optionsOf(posting)
    const run =
      id === null
        ? (await this.#ownRuns(posting, since))[0]
        : await readRun(this.#github, { repository, id, signal })
    // What was let through here ends by itself; else nobody is left looking at a question that is over.
    const here = approval.answers.some(({ gate, answer }) => gate === NAME && answer === 'approve')
    if (run === undefined || run.status === 'completed' || here) return
    await this.#cancel(posting, run.id)
  }

  async #cancel(posting: Posting, id: number): Promise<void> {
    const { repository } = optionsOf(posting)
    const { signal } = posting
    const { status } = await this.#github.send({
      repository,
      permissions: { actions: 'write' },
      method: 'POST',
      path: `/actions/runs/${id}/cancel`,
      signal,
    })
    // 409: it ended by itself meanwhile.
    if (status !== 202 && status !== 409)
      throw new TryLater(`GitHub answers ${status} when run ${id} is cancelled`)
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

  /** The run that came of the dispatch, and its environment; both as they should be. */
  async #find(
    posting: Posting,
  ): Promise<{ run: Run; environment: Awaited<ReturnType<typeof readProtected>> }> {
    const options = optionsOf(posting)
    const { repository, environment: name } = options
    const { signal } = posting
    const { run: id, since } = readHandle(this.#known(posting))
    const environment = await readProtected(this.#github, { repository, environment: name, signal })
    const run =
      id === null
        ? await this.#search(posting, since)
        : await readRun(this.#github, { repository, id, signal })
    const path = run.path.replace(/@.*$/, '')
    if (path !== `.github/workflows/${options.workflow}`) throw lying('the run is of another workflow')
    if (run.event !== 'workflow_dispatch' || run.head_branch !== options.branch)
      throw lying('the run was not dispatched on the branch')
    if (run.run_attempt !== 1) {
      throw new Refused(
        'denied',
        `run ${run.id} was run again, and only its first attempt counts`,
        'answer by another gate, or repeat the request',
      )
    }
    if (run.triggering_actor.type !== 'Bot' || run.triggering_actor.login !== (await this.#github.login()))
      throw lying('the run was not dispatched by the App')
    this.#remember(posting, { run: run.id, since })
    return { run, environment }
  }

  /** Where the dispatch told no run: the one that carries the approval's id in its name, and that the App dispatched. */
  async #search(posting: Posting, since: number): Promise<Run> {
    const [run] = await this.#ownRuns(posting, since)
    if (run !== undefined) return run
    throw new TryLater(
      `the run of workflow ${optionsOf(posting).workflow} for ${posting.approval.id} is not there yet (its run-name has to hold the id)`,
    )
  }

  /** The oldest first: of several that carry the id, because an answer was lost, there is one that counts. */
  async #ownRuns(posting: Posting, since: number): Promise<readonly Run[]> {
    const { repository, workflow, branch } = optionsOf(posting)
    const { approval, signal } = posting
    const runs = await dispatchedRuns(this.#github, {
      repository,
      workflow,
      branch,
      since: since - SKEW_MS,
      signal,
    })
    const login = await this.#github.login()
    return runs
      .filter(
        ({ display_title: title, triggering_actor: by }) =>
          by.type === 'Bot' && by.login === login && title.split(/[^\w]+/).includes(approval.id),
      )
      .toSorted((one, other) => one.id - other.id)
  }

  #remember(posting: Posting, found: z.output<typeof handleShape>, url?: string): Posted {
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

function optionsOf({ entry }: Posting): Options {
  if (NAME in entry) return entry[NAME]
  throw new Refused(
    'internal',
    'an entry of another gate was given',
    'report this: it is a fault of the gateway',
  )
}

function readHandle({ handle }: Posting): z.output<typeof handleShape> {
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
