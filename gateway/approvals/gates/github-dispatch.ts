import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import { TryLater } from '../../platforms/call.ts'
import { type Github, lying } from '../../platforms/github.ts'
import { type Run, dispatchedRuns, readRun } from '../../platforms/github-runs.ts'
import type { GateEntry } from './gate.ts'

export type EnvironmentOptions = Extract<GateEntry, { 'github-environment': unknown }>['github-environment']

/** What is kept of a dispatch: `run` is null until it is known which run came of it; `since` is when, in milliseconds since the epoch. */
export interface Dispatch {
  readonly run: number | null
  readonly since: number
}

/** How far GitHub's clock and ours may be apart when a run is looked for. */
const SKEW_MS = 120_000

const dispatchShape = z.object({ workflow_run_id: z.int(), html_url: z.string() })

/** The runs of one approval: the App dispatches them, and those of anybody else count for nothing, whatever they are called. */
export class ApprovalRuns {
  readonly #github: Github
  readonly #approval: string
  readonly #options: EnvironmentOptions
  readonly #signal: AbortSignal

  constructor(
    github: Github,
    of: { readonly approval: string; readonly options: EnvironmentOptions; readonly signal: AbortSignal },
  ) {
    this.#github = github
    this.#approval = of.approval
    this.#options = of.options
    this.#signal = of.signal
  }

  /** Dispatches one, and gives its page where GitHub tells; rejects with `Refused` or `TryLater`. */
  async dispatch(): Promise<Dispatch & { readonly url?: string }> {
    const { repository, workflow, branch } = this.#options
    const since = Date.now()
    const dispatch = (more: object) =>
      this.#github.send({
        repository,
        permissions: { actions: 'write' },
        method: 'POST',
        path: `/actions/workflows/${encodeURIComponent(workflow)}/dispatches`,
        // Only the id: names and inputs of runs are for everybody to read who may read the repository.
        body: { ref: branch, inputs: { approval: this.#approval }, ...more },
        signal: this.#signal,
      })
    const first = await dispatch({ return_run_details: true })
    // Servers from before 2026-02 refuse the field.
    const { status, json } = first.status === 422 ? await dispatch({}) : first
    if (status === 204) return { run: null, since }
    const made = dispatchShape.safeParse(json)
    if (status === 200 && !made.success) throw lying('it does not tell which run was dispatched')
    if (!made.success) {
      throw new Refused(
        'upstream_failed',
        `GitHub answers ${status} when workflow ${workflow} of ${repository} is dispatched on ${branch}`,
        'check that the file is there, has `workflow_dispatch` with the input `approval`, and that the App may write Actions',
      )
    }
    return { run: made.data.workflow_run_id, since, url: made.data.html_url }
  }

  /** The one that came of a dispatch: by its id where GitHub told it, else by the approval's id in its name. Rejects when it is not as it should be. */
  async find({ run: id, since }: Dispatch): Promise<Run> {
    const { workflow, branch } = this.#options
    const run = id === null ? await this.#search(since) : await this.read(id)
    if (run.path.replace(/@.*$/, '') !== `.github/workflows/${workflow}`)
      throw lying('the run is of another workflow')
    if (run.event !== 'workflow_dispatch' || run.head_branch !== branch)
      throw lying('the run was not dispatched on the branch')
    if (run.run_attempt !== 1) {
      throw new Refused(
        'denied',
        `run ${run.id} was run again, and only its first attempt counts`,
        'answer by another gate, or repeat the request',
      )
    }
    const { type, login } = run.triggering_actor
    if (type !== 'Bot' || login !== (await this.#github.login()))
      throw lying('the run was not dispatched by the App')
    return run
  }

  read(id: number): Promise<Run> {
    return readRun(this.#github, { repository: this.#options.repository, id, signal: this.#signal })
  }

  /** Those that carry the id and that the App dispatched since then, the oldest first: of several, because an answer was lost, there is one that counts. */
  async own(since: number): Promise<readonly Run[]> {
    const { repository, workflow, branch } = this.#options
    const runs = await dispatchedRuns(this.#github, {
      repository,
      workflow,
      branch,
      since: since - SKEW_MS,
      signal: this.#signal,
    })
    const login = await this.#github.login()
    return runs
      .filter(
        ({ display_title: title, triggering_actor: by }) =>
          by.type === 'Bot' && by.login === login && title.split(/[^\w]+/).includes(this.#approval),
      )
      .toSorted((one, other) => one.id - other.id)
  }

  async cancel(id: number): Promise<void> {
    const { status } = await this.#github.send({
      repository: this.#options.repository,
      permissions: { actions: 'write' },
      method: 'POST',
      path: `/actions/runs/${id}/cancel`,
      signal: this.#signal,
    })
    // 409: it ended by itself meanwhile.
    if (status !== 202 && status !== 409)
      throw new TryLater(`GitHub answers ${status} when run ${id} is cancelled`)
  }

  async #search(since: number): Promise<Run> {
    const [run] = await this.own(since)
    if (run !== undefined) return run
    throw new TryLater(
      `the run of workflow ${this.#options.workflow} for ${this.#approval} is not there yet (its run-name has to hold the id)`,
    )
  }
}
