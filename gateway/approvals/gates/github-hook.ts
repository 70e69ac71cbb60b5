import { createHmac, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import { type Delivery, type Hook, type HookAnswer, Seen } from './hook.ts'

/** What GitHub's webhooks are good for: each only says where to look, but for protection rules, which are answered. */
export interface GithubEvents {
  /** A run was reviewed, or ended. */
  run(id: number): void
  /** A pull request was reviewed at a commit. */
  review(repositoryId: number, sha: string): void
  /** A job waits at a custom deployment protection rule. */
  protectionRule(asked: ProtectionRule): Promise<void>
}

/** A job that waits for a custom deployment protection rule. */
export interface ProtectionRule {
  /** The issuer whose App was asked. */
  readonly issuer: string
  readonly environment: string
  readonly repository: { readonly id: number; readonly full_name: string }
  readonly run: number
}

const repository = z.object({ id: z.int(), full_name: z.string() })
const runShape = z.object({ workflow_run: z.object({ id: z.int() }) })
const reviewShape = z.object({ repository, review: z.object({ commit_id: z.string().nullable() }) })
const ruleShape = z.object({
  action: z.literal('requested'),
  environment: z.string(),
  deployment_callback_url: z.string(),
  repository,
})

const ignored: HookAnswer = { status: 202, body: { taken: false } }
const taken: HookAnswer = { status: 202, body: { taken: true } }

/** GitHub's webhooks: signed with the App's secret, each taken once. */
export class GithubHook implements Hook {
  readonly name = 'github'
  readonly #secrets: ReadonlyMap<string, () => string>
  readonly #events: GithubEvents
  readonly #seen = new Seen()

  /** `secrets`: by issuer, what its App's webhooks are signed with. */
  constructor(secrets: ReadonlyMap<string, () => string>, events: GithubEvents) {
    this.#secrets = secrets
    this.#events = events
  }

  async take({ headers, body }: Delivery): Promise<HookAnswer> {
    const issuer = this.#signerOf(headers['x-hub-signature-256'] ?? '', body)
    // The headers are not signed. What is, tells deliveries apart: GitHub sends the same bytes again, and never for another event.
    const signature = headers['x-hub-signature-256'] ?? ''
    if (!this.#seen.first(signature)) return ignored
    try {
      return await this.handle(headers['x-github-event'] ?? '', readJson(body), issuer)
    } catch (error) {
      this.#seen.forget(signature)
      throw error
    }
  }

  /** Deals with what a signature or GitHub's own API has proved. */
  async handle(event: string, payload: unknown, issuer: string): Promise<HookAnswer> {
    switch (event) {
      case 'deployment_review':
      case 'workflow_run': {
        const found = runShape.safeParse(payload)
        if (found.success) this.#events.run(found.data.workflow_run.id)
        return found.success ? taken : ignored
      }
      case 'pull_request_review': {
        const { data } = reviewShape.safeParse(payload)
        if (data === undefined || data.review.commit_id === null) return ignored
        this.#events.review(data.repository.id, data.review.commit_id)
        return taken
      }
      case 'deployment_protection_rule': {
        const { data } = ruleShape.safeParse(payload)
        // Where to answer is worked out from the repository: only the run's number is taken from the URL.
        const run = /\/actions\/runs\/(\d{1,20})\/deployment_protection_rule$/.exec(
          data?.deployment_callback_url ?? '',
        )
        if (data === undefined || run === null) return ignored
        const { environment, repository: where } = data
        await this.#events.protectionRule({ issuer, environment, repository: where, run: Number(run[1]) })
        return taken
      }
      default:
        return ignored
    }
  }

  #signerOf(signature: string, body: Buffer): string {
    const given = Buffer.from(signature)
    for (const [issuer, secret] of this.#secrets) {
      const own = Buffer.from(`sha256=${createHmac('sha256', secret()).update(body).digest('hex')}`)
      if (own.byteLength === given.byteLength && timingSafeEqual(own, given)) return issuer
    }
    throw new Refused(
      'unauthenticated',
      'the webhook is not signed with a secret of this gateway',
      'set the same webhook secret in the GitHub App and in `app.webhook_secret` of hoop.yaml',
    )
  }
}

function readJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (cause) {
    throw new Refused(
      'invalid_request',
      'the webhook is not JSON',
      'choose application/json in the GitHub App',
      { cause },
    )
  }
}
