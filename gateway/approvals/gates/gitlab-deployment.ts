import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import { TryLater } from '../../platforms/call.ts'
import { type GitlabApi, gitlabSelf, lyingGitlab, readGitlab, wantPerson } from '../../platforms/gitlab.ts'
import type { AnswerDesk, ApprovalGate, GateEntry, Posted, Posting } from './gate.ts'
import { outcomeIn } from './words.ts'

type Options = Extract<GateEntry, { 'gitlab-deployment': unknown }>['gitlab-deployment']

const NAME = 'gitlab-deployment'
const LOOK_MS = 20_000
/** What carries the approval's id in its pipeline. */
const VARIABLE = 'HOOP_APPROVAL'
/** Deployments of the environment that are looked through for ours: 100 a page, the newest first. */
const PAGES = 5
/** Every role, user and group that an environment asks is a rule; a person answers once. */
const ANSWERS_CAP = 100
/** How far GitLab's clock and ours may be apart. */
const SKEW_MS = 60_000

const pipelineShape = z.object({
  id: z.int(),
  ref: z.string(),
  source: z.string(),
  status: z.string(),
  user: z.object({ id: z.int() }),
  web_url: z.string(),
})
const listedShape = z.object({
  id: z.int(),
  environment: z.object({ name: z.string() }),
  // Null for a deployment that the API made, which nobody can approve.
  deployable: z.object({ pipeline: z.object({ id: z.int() }) }).nullable(),
})
const approvalShape = z.object({
  user: z.object({ id: z.int() }),
  status: z.enum(['approved', 'rejected']),
  created_at: z.string(),
  comment: z.string().nullish(),
})
const deploymentShape = listedShape.extend({
  status: z.string(),
  pending_approval_count: z.int().nullish(),
  approvals: z.array(approvalShape).max(ANSWERS_CAP).nullish(),
  approval_summary: z
    .object({
      rules: z
        .array(
          z.object({
            required_approvals: z.int(),
            deployment_approvals: z.array(approvalShape).max(ANSWERS_CAP),
          }),
        )
        .max(ANSWERS_CAP),
    })
    .nullish(),
})
type Deployment = z.output<typeof deploymentShape>
type Given = z.output<typeof approvalShape>
const variablesShape = z.array(z.object({ key: z.string(), value: z.string() }))
const handleShape = z.object({ pipeline: z.int() })

/** What has become of a pipeline that will not wait for anybody any more. */
const ended = new Set(['failed', 'canceled', 'skipped', 'success'])

/**
 * Asks by a pipeline of its own, which the gateway starts for each approval, and of which the one job waits for the
 * deployment approvals of a protected environment: GitLab's approvals name no request, so the pipeline does. It is known by
 * the id that GitLab answered when the gateway started it; one that somebody else started, under the same name or not, is
 * another one. The first deployment of it counts, not those of jobs that are run again.
 */
export class GitlabDeploymentGate implements ApprovalGate {
  readonly name = NAME
  readonly lookEvery = LOOK_MS
  readonly #api: GitlabApi
  readonly #desk: AnswerDesk
  /** What waits, by the approval's id, then by entry. */
  readonly #waiting = new Map<string, Map<string, Options>>()

  constructor(options: { readonly api: GitlabApi; readonly desk: AnswerDesk }) {
    this.#api = options.api
    this.#desk = options.desk
  }

  async announce(posting: Posting): Promise<Posted> {
    const { project, ref } = optionsOf(posting)
    // Only the id: variables of pipelines are for everybody to read who may see the job.
    const variables = [{ key: VARIABLE, value: posting.approval.id, variable_type: 'env_var' as const }]
    const made = await this.#api.Pipelines.create(project, ref, { variables })
    return this.#posted(posting, readGitlab(pipelineShape, made))
  }

  /** A list shows neither who started a pipeline nor its variables, so those that may be ours are read one by one. */
  async find(posting: Posting & { readonly triedAt: number }): Promise<Posted | null> {
    const { project, ref } = optionsOf(posting)
    const self = await gitlabSelf(this.#api)
    const listed = readGitlab(
      z.array(z.object({ id: z.int(), source: z.string(), created_at: z.string() })),
      await this.#api.Pipelines.all(project, {
        ref,
        source: 'api',
        orderBy: 'id',
        sort: 'desc',
        perPage: 100,
        maxPages: 1,
      }),
    )
    // The oldest first: of several that carry the id there is one that counts.
    const since = posting.triedAt - SKEW_MS
    for (const { id } of listed.toReversed().filter((one) => Date.parse(one.created_at) >= since)) {
      const pipeline = readGitlab(pipelineShape, await this.#api.Pipelines.show(project, id))
      if (pipeline.id !== id) throw lyingGitlab('it is about another pipeline')
      if (pipeline.user.id !== self || pipeline.source !== 'api' || pipeline.ref !== ref) continue
      const variables = readGitlab(variablesShape, await this.#api.Pipelines.allVariables(project, id))
      if (variables.some(({ key, value }) => key === VARIABLE && value === posting.approval.id))
        return this.#posted(posting, pipeline)
    }
    return null
  }

  #posted(posting: Posting, { id, web_url: url }: z.output<typeof pipelineShape>): Posted {
    this.#remember(posting)
    return { handle: JSON.stringify({ pipeline: id }), ...(URL.canParse(url) && { url }) }
  }

  async look(posting: Posting): Promise<void> {
    this.#remember(posting)
    const { approval, groups } = posting
    const { pipeline, deployment, self } = await this.#find(posting)
    if (deployment === null) {
      if (ended.has(pipeline.status)) throw unasked(posting, pipeline.id)
      throw new TryLater(`pipeline ${pipeline.id} has no deployment yet`)
    }
    const denied = answersOf(deployment, 'rejected').filter(({ user }) => user.id !== self)
    // What GitLab itself still holds back, nobody here lets pass.
    const given = isApproved(deployment) ? answersOf(deployment, 'approved') : []
    const counting = denied.length > 0 ? denied : given.filter(({ user }) => user.id !== self)
    if (counting.length === 0) {
      if (waits(deployment)) return
      throw unasked(posting, pipeline.id)
    }
    let refused: unknown = null
    for (const { user, status, comment, created_at: at } of counting) {
      try {
        if (!(Date.parse(at) + SKEW_MS >= Date.parse(approval.requested_at)))
          throw lyingGitlab('the approval is older than the pipeline')
        if (status === 'approved') await wantPerson(this.#api, user.id)
        await this.#desk.answer(approval.id, {
          account: { kind: 'gitlab', id: user.id },
          gate: NAME,
          groups,
          answer: status === 'approved' ? 'approve' : 'deny',
          reason: comment ?? '',
        })
      } catch (error) {
        // One of several may be nobody here; the others count all the same.
        refused ??= error
      }
    }
    if (refused !== null) throw refused
  }

  /** GitLab cannot cancel a job that waits for people: rejecting its deployment is what takes it down; the comment says how it ended. */
  async conclude(posting: Posting): Promise<void> {
    const { approval } = posting
    this.#waiting.delete(approval.id)
    const { pipeline, deployment } = await this.#find(posting)
    if (deployment === null && !ended.has(pipeline.status))
      throw new TryLater(`pipeline ${pipeline.id} has no deployment yet`)
    if (deployment === null || !waits(deployment)) return
    const { project } = optionsOf(posting)
    await this.#api.Deployments.setApproval(project, deployment.id, 'rejected', {
      comment: `${outcomeIn(approval)} ${approval.url}`,
    })
  }

  /** Something happened to a deployment of an environment. */
  nudge(project: string, environment: string): void {
    for (const [approval, entries] of this.#waiting) {
      for (const options of entries.values()) {
        if (options.environment === environment && options.project.toLowerCase() === project.toLowerCase())
          this.#desk.look(approval, NAME)
      }
    }
  }

  #remember(posting: Posting): void {
    const entries = this.#waiting.get(posting.approval.id) ?? new Map<string, Options>()
    this.#waiting.set(posting.approval.id, entries.set(JSON.stringify(posting.entry), optionsOf(posting)))
  }

  /** The pipeline that the gateway started, and its first deployment to the environment; both as they should be. */
  async #find(posting: Posting): Promise<{
    readonly pipeline: z.output<typeof pipelineShape>
    readonly deployment: Deployment | null
    readonly self: number
  }> {
    const { project, environment, ref } = optionsOf(posting)
    const { pipeline: id } = handleShape.parse(JSON.parse(posting.handle ?? 'null'))
    const pipeline = readGitlab(pipelineShape, await this.#api.Pipelines.show(project, id))
    const self = await gitlabSelf(this.#api)
    if (pipeline.id !== id) throw lyingGitlab('it is about another pipeline')
    if (pipeline.ref !== ref || pipeline.source !== 'api' || pipeline.user.id !== self)
      throw lyingGitlab('the pipeline is none that the gateway started')
    const listed = readGitlab(
      z.array(listedShape),
      await this.#api.Deployments.all(project, {
        environment,
        orderBy: 'id',
        sort: 'desc',
        perPage: 100,
        maxPages: PAGES,
      }),
    )
    const own = listed.filter(({ deployable }) => deployable?.pipeline.id === id).map((one) => one.id)
    if (own.length === 0) return { pipeline, deployment: null, self }
    const first = Math.min(...own)
    const deployment = readGitlab(deploymentShape, await this.#api.Deployments.show(project, first))
    if (deployment.id !== first || deployment.deployable?.pipeline.id !== id)
      throw lyingGitlab('it is about another deployment')
    if (deployment.environment.name !== environment) throw lyingGitlab('it is about another environment')
    return { pipeline, deployment, self }
  }
}

/** Each person's answer of one kind once: GitLab shows them in one list, by rules, or both. */
function answersOf(
  { approvals, approval_summary: summary }: Deployment,
  kind: Given['status'],
): readonly Given[] {
  const all = [...(approvals ?? []), ...rulesOf(summary).flatMap((rule) => rule.deployment_approvals)]
  return [...new Map(all.filter(({ status }) => status === kind).map((one) => [one.user.id, one])).values()]
}

/** True while people may still approve it; its status does not tell in every version. */
function waits(deployment: Deployment): boolean {
  if (ended.has(deployment.status) || answersOf(deployment, 'rejected').length > 0) return false
  const rules = rulesOf(deployment.approval_summary).filter(({ required_approvals: all }) => all > 0)
  return rules.length > 0 ? !isApproved(deployment) : (deployment.pending_approval_count ?? 0) > 0
}

/** True when the environment wants approvals, and has all that it wants. */
function isApproved({
  approvals,
  approval_summary: summary,
  pending_approval_count: pending,
}: Deployment): boolean {
  const rules = rulesOf(summary).filter(({ required_approvals: required }) => required > 0)
  if (rules.length > 0) {
    return rules.every(
      ({ required_approvals: required, deployment_approvals: given }) =>
        given.filter(({ status }) => status === 'approved').length >= required,
    )
  }
  return pending === 0 && (approvals ?? []).some(({ status }) => status === 'approved')
}

const rulesOf = (
  summary: Deployment['approval_summary'],
): NonNullable<Deployment['approval_summary']>['rules'] => summary?.rules ?? []

function unasked(posting: Posting, pipeline: number): Refused {
  const { project, environment } = optionsOf(posting)
  return new Refused(
    'upstream_failed',
    `pipeline ${pipeline} of ${project} does not wait for approvals in ${environment}`,
    'protect the environment and give it approval rules, let the gateway’s user deploy there, then repeat the request',
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
