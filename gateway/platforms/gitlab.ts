import { createRequesterFn } from '@gitbeaker/requester-utils'
import { Gitlab } from '@gitbeaker/rest'
import { z } from 'zod'
import { Refused } from '../core/errors.ts'
import type { Config, Secret } from '../policy/schema.ts'
import { fetchFrom } from './call.ts'

/** One GitLab's REST API, with the token of hoop.yaml: gitbeaker's resources over the gateway's own requests. Calls reject with `Refused` or `TryLater`. */
export type GitlabApi = Pick<InstanceType<typeof Gitlab>, 'Jobs'>

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
