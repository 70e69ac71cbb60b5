import { createRequesterFn } from '@gitbeaker/requester-utils'
import { Gitlab } from '@gitbeaker/rest'
import { z } from 'zod'
import { Refused } from '../core/errors.ts'
import type { Origin } from '../core/identity.ts'
import type { Config, Secret } from '../policy/schema.ts'
import { fetchFrom } from './call.ts'
import type { Starter } from './starter.ts'

/** One GitLab's REST API, with the token of hoop.yaml: gitbeaker's resources over the gateway's own requests. Calls reject with `Refused` or `TryLater`. */
export type GitlabApi = Pick<
  InstanceType<typeof Gitlab>,
  | 'Commits'
  | 'Deployments'
  | 'Jobs'
  | 'MergeRequestApprovals'
  | 'MergeRequestNotes'
  | 'MergeRequests'
  | 'Pipelines'
  | 'Users'
>

/** The APIs of a configuration, by the issuer's name: those of GitLab issuers that have a token. Nothing is sent yet. */
export function openGitlabs(
  config: Config,
  readSecret: (secret: Secret) => string,
): ReadonlyMap<string, GitlabApi> {
  const apis = new Map<string, GitlabApi>()
  for (const [name, issuer] of Object.entries(config.issuers)) {
    if (issuer.platform !== 'gitlab' || issuer.token === undefined) continue
    const { token, url } = issuer
    apis.set(
      name,
      new Gitlab({
        host: url.replace(/\/+$/, ''),
        token: () => Promise.resolve(readSecret(token).trim()),
        queryTimeout: null,
        requesterFn: createRequesterFn((_, prepared) => Promise.resolve(prepared), send),
      }),
    )
  }
  return apis
}

/** What gitbeaker has put together of a request, beside its path. */
const prepared = z.object({
  prefixUrl: z.string(),
  method: z.enum(['GET', 'POST', 'PUT', 'PATCH']),
  headers: z.record(z.string(), z.string()),
  searchParams: z.string().optional(),
  body: z.string().optional(),
})
const answer = z.union([
  z.record(z.string(), z.unknown()),
  z.array(z.record(z.string(), z.unknown())),
  z.null(),
])

/** Sends it as every platform is asked, in place of gitbeaker's own requests, which follow redirects and read without end. */
async function send(path: string, options: unknown): ReturnType<Parameters<typeof createRequesterFn>[1]> {
  const { prefixUrl, method, headers, searchParams, body } = prepared.parse(options)
  const url = new URL(path, `${prefixUrl.replace(/\/+$/, '')}/`)
  url.search = searchParams ?? ''
  const answered = await fetchFrom('GitLab')(url.href, {
    method,
    headers: { accept: 'application/json', 'user-agent': 'hoop-access', ...headers },
    ...(body !== undefined && { body }),
  })
  const { status } = answered
  if (status > 299) {
    throw new Refused(
      'upstream_failed',
      `GitLab answers ${status}`,
      status === 401
        ? 'check the issuer’s `token` in hoop.yaml'
        : 'check that the token has the scope that docs/guide/approvals.md names, and its user the role',
    )
  }
  const text = await answered.text()
  const read = answer.safeParse(text === '' ? null : JSON.parse(text))
  if (!read.success) throw lyingGitlab('it is not as documented')
  return { body: read.data, headers: Object.fromEntries(answered.headers), status }
}

/** The id of the account whose token the gateway has. */
export async function gitlabSelf(api: GitlabApi): Promise<number> {
  return readGitlab(z.object({ id: z.int() }), await api.Users.showCurrentUser()).id
}

/** Rejects with `Refused` when an account is a bot (of a project, a group, a service), or is blocked. */
export async function wantPerson(api: GitlabApi, id: number): Promise<void> {
  const found = await readUser(api, id)
  if (found.bot === false && found.state === 'active') return
  throw new Refused(
    'denied',
    `the GitLab account ${id} is ${found.bot === false ? found.state : 'a bot'}, which approves nothing`,
    'have a person answer it',
  )
}

async function readUser(api: GitlabApi, id: number): Promise<z.output<typeof userShape>> {
  const found = readGitlab(userShape, await api.Users.show(id))
  if (found.id !== id) throw lyingGitlab('it is about another account')
  return found
}

const pipelineShape = z.object({ id: z.int(), project_id: z.int(), user: z.object({ id: z.int() }) })

/**
 * Who started the pipeline that a job belongs to, and who ran the job, where GitLab can be asked: the job's token names only
 * the latter, who is somebody else once it is run again, and does not tell bots from people.
 */
export async function gitlabStarters(
  apis: ReadonlyMap<string, GitlabApi>,
  { issuer, platform, claims }: Origin,
): Promise<readonly Starter[]> {
  const api = platform === 'gitlab' ? apis.get(issuer) : undefined
  if (api === undefined) return []
  const { project_id: code = '', job_project_id: project = code, pipeline_id: pipeline = '' } = claims
  const { user_id: runner = '' } = claims
  if (![project, pipeline, runner].every((id) => /^\d{1,15}$/.test(id))) {
    throw new Refused(
      'denied',
      'the job does not say which pipeline and user it is of, so who started that cannot be told',
      'run the job again, and approve what it asks then',
    )
  }
  const found = readGitlab(pipelineShape, await api.Pipelines.show(project, Number(pipeline)))
  if (String(found.id) !== pipeline || String(found.project_id) !== project)
    throw lyingGitlab('it is about another pipeline')
  const starters: Starter[] = []
  for (const id of new Set([found.user.id, Number(runner)])) {
    const { bot, username: name } = await readUser(api, id)
    starters.push({ kind: 'gitlab', id: String(id), name, bot: bot !== false })
  }
  return starters
}

const userShape = z.object({
  id: z.int(),
  username: z.string(),
  bot: z.boolean().nullable(),
  state: z.string(),
})

/** A part of an answer that is as documented, or `Refused`. */
export function readGitlab<Shape extends z.ZodType>(shape: Shape, given: unknown): z.output<Shape> {
  const parsed = shape.safeParse(given)
  if (parsed.success) return parsed.data
  throw lyingGitlab(`${parsed.error.issues[0]?.path.join('.') || 'it'} is not as documented`)
}

/** What does not fit what was asked for. */
export function lyingGitlab(what: string): Refused {
  return new Refused(
    'upstream_untrusted',
    `the answer of GitLab cannot be trusted: ${what}`,
    'check `url` of the issuer',
  )
}
