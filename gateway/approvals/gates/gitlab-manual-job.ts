import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import type { Origin } from '../../core/identity.ts'
import { claimText } from '../../identity/claims.ts'
import type { PlatformToken } from '../../identity/issuers.ts'
import { type GitlabApi, lyingGitlab, readGitlab, wantPerson } from '../../platforms/gitlab.ts'
import type { Store } from '../../store/open.ts'
import { originOf } from '../rows.ts'
import type { AnswerDesk, ApprovalGate, GateEntry, Posting } from './gate.ts'
import type { Reported } from './report-hook.ts'

type Options = Extract<GateEntry, { 'gitlab-manual-job': unknown }>['gitlab-manual-job']

const NAME = 'gitlab-manual-job'
/** How far back the questions of a pipeline are looked at, and how many. */
const HISTORY_MS = 24 * 3_600_000
const HISTORY_ROWS = 1000
/** How far GitLab's clock and ours may be apart. */
const SKEW_MS = 60_000

/** GitLab's roles in a project (`user_access_level`), from the least. */
const roles = ['guest', 'planner', 'reporter', 'developer', 'maintainer', 'owner']

const jobShape = z.object({
  id: z.int(),
  status: z.string(),
  user: z.object({ id: z.int() }),
  pipeline: z.object({ id: z.int(), project_id: z.int() }),
})

/**
 * Asks by a manual job of the same pipeline: GitLab runs it as whoever plays it, so its ID token names them. The token has to
 * be of the job that the pinned configuration gives its own environment, on a protected ref, or any other job of the pipeline
 * that somebody merely ran again could speak for them.
 */
export class GitlabManualJobGate implements ApprovalGate {
  readonly name = NAME
  readonly #apis: ReadonlyMap<string, GitlabApi>
  readonly #store: Store
  readonly #desk: AnswerDesk
  readonly #waiting = new Map<string, Map<string, Posting & { readonly origin: Origin }>>()

  constructor(options: {
    readonly apis: ReadonlyMap<string, GitlabApi>
    readonly store: Store
    readonly desk: AnswerDesk
  }) {
    this.#apis = options.apis
    this.#store = options.store
    this.#desk = options.desk
  }

  announce(posting: Posting): Promise<{ handle: string; url?: string }> {
    const page = this.#remember(posting)
    return Promise.resolve({ handle: page, ...(URL.canParse(page) && { url: page }) })
  }

  /** Nothing to ask GitLab: the job reports by itself. Called after a restart, too. */
  look(posting: Posting): Promise<void> {
    this.#remember(posting)
    return Promise.resolve()
  }

  conclude({ approval }: Posting): Promise<void> {
    this.#waiting.delete(approval.id)
    return Promise.resolve()
  }

  /** The manual job reports that somebody played it. */
  async report(
    token: PlatformToken,
    approval: string | null,
    spend: (approval: string) => Promise<void>,
  ): Promise<Reported> {
    const claims = new Map(Object.entries(token.claims).map(([name, value]) => [name, claimText(value)]))
    const claim = (name: string): string => claims.get(name) ?? ''
    if (claim('job_project_id') !== '' && claim('job_project_id') !== claim('project_id'))
      throw stranger('it runs the code of a fork')
    if (claim('ref_protected') !== 'true') throw stranger(`its ref ${claim('ref')} is not protected`)
    const id = approval ?? (await this.#onlyOne(token, claim('pipeline_id')))
    const postings = [...(this.#waiting.get(id)?.values() ?? [])].filter(({ origin }) =>
      samePipeline(origin, token),
    )
    if (postings.length === 0) throw stranger('no request of this pipeline waits for it')
    const posting = postings.find((one) => claim('ci_config_ref_uri') === optionsOf(one).ci_config_ref_uri)
    if (posting === undefined)
      throw stranger(`its configuration is ${claim('ci_config_ref_uri')}, which is not the pinned one`)
    const { environment, access } = optionsOf(posting)
    if (claim('environment') !== environment) throw stranger(`its environment is not ${environment}`)
    if (roles.indexOf(claim('user_access_level')) < roles.indexOf(access))
      throw stranger(`who played it is ${claim('user_access_level') || 'no member'}, and ${access} is needed`)
    // A job that was played before the question was there cannot have been played for it.
    if (Number(claim('iat')) * 1000 + SKEW_MS < Date.parse(posting.approval.requested_at))
      throw stranger('it was played before this was asked')
    const user = Number(claim('user_id'))
    if (!Number.isSafeInteger(user) || claim('user_id') === '') throw stranger('it names no user')
    await this.#confirm(token, { job: claim('job_id'), user, pipeline: claim('pipeline_id') })
    await spend(id)
    const outcome = await this.#desk.answer(id, {
      account: { kind: 'gitlab', id: user },
      gate: NAME,
      groups: posting.groups,
      answer: 'approve',
      reason: '',
    })
    return { ...outcome, id }
  }

  /**
   * The request that a job without an id means: the only one that waits, where the pipeline has asked for nothing else.
   * Otherwise what somebody read before they played the job could be taken back, and another request be asked in its place.
   */
  async #onlyOne(token: PlatformToken, pipeline: string): Promise<string> {
    if (!/^\d{1,20}$/.test(pipeline)) throw stranger('it names no pipeline')
    // Any project of the same GitLab can make a token for this gateway: the store is asked only for those that wait.
    const known = [...this.#waiting.values()].flatMap((postings) => [...postings.values()])
    if (!known.some(({ origin }) => samePipeline(origin, token)))
      throw stranger('nothing of this pipeline waits for it')
    const rows = await this.#store.db
      .selectFrom('approvals')
      .innerJoin('identities', 'identities.id', 'approvals.identity')
      .select(['approvals.id', 'approvals.state', 'approvals.digest', 'approvals.identity'])
      .where('identities.origin', 'like', `%"pipeline_id":"${pipeline}"%`)
      .where('approvals.requested_at', '>', Date.now() - HISTORY_MS)
      .limit(HISTORY_ROWS)
      .execute()
    const origins = new Map<string, Origin | null>()
    for (const identity of new Set(rows.map((row) => row.identity)))
      origins.set(identity, await originOf(this.#store.db, identity))
    const own = rows.filter((row) => {
      const origin = origins.get(row.identity)
      return origin !== undefined && origin !== null && samePipeline(origin, token)
    })
    const waiting = own.filter(({ state, id }) => state === 'pending' && this.#waiting.has(id))
    const [only] = waiting
    if (only === undefined) throw stranger('nothing of this pipeline waits for it')
    if (new Set(own.map(({ digest }) => digest)).size === 1 && waiting.length === 1) return only.id
    throw new Refused(
      'denied',
      `this pipeline has asked for several things, and the job does not say which is meant (waiting: ${waiting.map(({ id }) => id).join(', ')})`,
      'play the job with the variable HOOP_APPROVAL set to the id that the waiting job shows',
    )
  }

  /** Where the gateway may ask GitLab, the job has to be what its token says. */
  async #confirm(
    { issuer, claims }: PlatformToken,
    { job, user, pipeline }: { readonly job: string; readonly user: number; readonly pipeline: string },
  ): Promise<void> {
    const api = this.#apis.get(issuer)
    if (api === undefined) return
    const project = claimText(claims['project_id']) ?? ''
    const found = readGitlab(jobShape, await api.Jobs.show(project, Number(job)))
    if (String(found.id) !== job || String(found.pipeline.project_id) !== project)
      throw lyingGitlab('it is about another job')
    if (found.user.id !== user || String(found.pipeline.id) !== pipeline)
      throw lyingGitlab('the job is of another user or pipeline than its token says')
    await wantPerson(api, user)
    if (found.status !== 'running') throw stranger(`the job is ${found.status}, not running`)
  }

  /** The page of the pipeline, or nothing. */
  #remember(posting: Posting): string {
    const { origin, approval, entry } = posting
    if (origin === null || origin.platform !== 'gitlab') {
      throw new Refused(
        'unsupported',
        'the job is not of a GitLab pipeline, so there is no manual job to play',
        'answer by another gate',
      )
    }
    const ofApproval =
      this.#waiting.get(approval.id) ?? new Map<string, Posting & { readonly origin: Origin }>()
    this.#waiting.set(approval.id, ofApproval.set(JSON.stringify(entry), { ...posting, origin }))
    const { pipeline_id: pipeline = '' } = origin.claims
    return origin.url?.replace(/\/-\/jobs\/\d+$/, `/-/pipelines/${pipeline}`) ?? ''
  }
}

/** The same issuer, project and pipeline; the job that asks is never the one that answers. */
function samePipeline({ issuer, claims }: Origin, token: PlatformToken): boolean {
  const own = (name: string): string => claimText(token.claims[name]) ?? ''
  const project = claims['job_project_id'] ?? claims['project_id']
  return (
    issuer === token.issuer &&
    own('pipeline_id') !== '' &&
    claims['pipeline_id'] === own('pipeline_id') &&
    project === own('project_id') &&
    claims['job_id'] !== own('job_id')
  )
}

function optionsOf({ entry }: Posting): Options {
  if (NAME in entry) return entry[NAME]
  throw new Refused(
    'internal',
    'an entry of another gate was given',
    'report this: it is a fault of the gateway',
  )
}

function stranger(why: string): Refused {
  return new Refused(
    'denied',
    `the job approves nothing: ${why}`,
    'see docs/guide/approvals.md for the approval job of a pipeline',
  )
}
