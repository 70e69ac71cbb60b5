import type { z } from 'zod'
import { Refused } from '../core/errors.ts'
import type { Config, Secret } from '../policy/schema.ts'
import { type Answered, call } from './call.ts'

/** Calls to one GitLab's REST API with the token of hoop.yaml. */
export interface Gitlab {
  /** The answer's JSON when it is a 2xx; rejects with `Refused` or `TryLater` otherwise. `path` is below `/api/v4`. */
  ask<Shape extends z.ZodType>(
    shape: Shape,
    asked: {
      readonly path: string
      readonly method?: 'GET' | 'POST' | 'PUT'
      readonly body?: object
      readonly signal?: AbortSignal
    },
  ): Promise<z.output<Shape>>
}

/** The APIs of a configuration, by the issuer's name: those of GitLab issuers that have a token. Nothing is sent yet. */
export function openGitlabs(
  config: Config,
  readSecret: (secret: Secret) => string,
): ReadonlyMap<string, Gitlab> {
  const apis = new Map<string, Gitlab>()
  for (const [name, issuer] of Object.entries(config.issuers)) {
    if (issuer.platform !== 'gitlab' || issuer.token === undefined) continue
    const { token, url } = issuer
    apis.set(name, {
      async ask(shape, { path, method = 'GET', body, signal }) {
        const answer = await call('GitLab', {
          method,
          url: `${url.replace(/\/+$/, '')}/api/v4${path}`,
          headers: { 'private-token': readSecret(token).trim() },
          ...(body !== undefined && { body }),
          signal,
        })
        return read(shape, answer)
      },
    })
  }
  return apis
}

function read<Shape extends z.ZodType>(shape: Shape, { status, json }: Answered): z.output<Shape> {
  if (status < 200 || status > 299) {
    throw new Refused(
      'upstream_failed',
      `GitLab answers ${status}`,
      status === 401
        ? 'check the issuer’s `token` in hoop.yaml'
        : 'check that the token has the scope that docs/guide/approvals.md names, and its user the role',
    )
  }
  const parsed = shape.safeParse(json)
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
