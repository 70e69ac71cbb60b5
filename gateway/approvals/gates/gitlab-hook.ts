import { createHash } from 'node:crypto'
import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import { sameText } from '../../identity/client-key.ts'
import { type Delivery, type Hook, type HookAnswer, Seen } from './hook.ts'

/** What GitLab's webhooks are good for: each only says where to look. */
export interface GitlabEvents {
  /** Something happened to a deployment of an environment; `project` is GROUP/PROJECT. */
  deployment(project: string, environment: string): void
  /** A merge request of the project with this id was approved or commented, its head being `sha`. */
  mergeRequest(project: number, sha: string): void
}

const commit = z.object({ last_commit: z.object({ id: z.string() }) })
const event = z.discriminatedUnion('object_kind', [
  z.object({
    object_kind: z.literal('deployment'),
    environment: z.string(),
    project: z.object({ path_with_namespace: z.string() }),
  }),
  z.object({
    object_kind: z.literal('merge_request'),
    project: z.object({ id: z.int() }),
    object_attributes: commit,
  }),
  z.object({
    object_kind: z.literal('note'),
    project: z.object({ id: z.int() }),
    merge_request: commit,
  }),
])

/** `/hooks/gitlab`: what carries the secret token of a GitLab issuer in hoop.yaml; each delivery is taken once. */
export class GitlabHook implements Hook {
  readonly name = 'gitlab'
  readonly #secrets: readonly (() => string)[]
  readonly #events: GitlabEvents
  readonly #seen = new Seen()

  constructor(secrets: readonly (() => string)[], events: GitlabEvents) {
    this.#secrets = secrets
    this.#events = events
  }

  take({ headers, body }: Delivery): Promise<HookAnswer> {
    // GitLab signs nothing: the token is the secret itself.
    const given = headers['x-gitlab-token'] ?? ''
    if (!this.#secrets.some((secret) => secret() !== '' && sameText(given, secret()))) {
      throw new Refused(
        'unauthenticated',
        'the webhook carries no secret token of this gateway',
        'set the same secret token in the webhook and in `webhook_secret` of the GitLab issuer in hoop.yaml',
      )
    }
    const known = event.safeParse(readJson(body))
    const first = this.#seen.first(createHash('sha256').update(body).digest('hex'))
    if (!first || !known.success) return Promise.resolve({ status: 202, body: { taken: false } })
    switch (known.data.object_kind) {
      case 'deployment':
        this.#events.deployment(known.data.project.path_with_namespace, known.data.environment)
        break
      case 'merge_request':
        this.#events.mergeRequest(known.data.project.id, known.data.object_attributes.last_commit.id)
        break
      case 'note':
        this.#events.mergeRequest(known.data.project.id, known.data.merge_request.last_commit.id)
    }
    return Promise.resolve({ status: 202, body: { taken: true } })
  }
}

function readJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return null // of no kind that is known
  }
}
