import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import type { PlatformToken } from '../../identity/issuers.ts'
import type { Store } from '../../store/open.ts'
import type { Outcome } from '../approval.ts'
import type { Delivery, Hook, HookAnswer } from './hook.ts'

/** Takes the report of a job that people let go on: what they let go on is proved by the job's own ID token. */
export type TakeReport = (token: PlatformToken, approval: string | null) => Promise<Outcome & { id: string }>

const bodyShape = z.strictObject({
  approval: z
    .string()
    .regex(/^apr_[a-z2-7]{26}$/)
    .nullable()
    .default(null),
})

/** `/hooks/approve`: jobs that people let go on report here. A token is good for one approval, and for nothing else then. */
export class ReportHook implements Hook {
  readonly name = 'approve'
  readonly #verify: (token: string) => Promise<PlatformToken>
  readonly #store: Store
  readonly #reports: Readonly<Partial<Record<PlatformToken['platform'], TakeReport>>>

  constructor(options: {
    readonly verify: (token: string) => Promise<PlatformToken>
    readonly store: Store
    readonly reports: Readonly<Partial<Record<PlatformToken['platform'], TakeReport>>>
  }) {
    this.#verify = options.verify
    this.#store = options.store
    this.#reports = options.reports
  }

  async take({ headers, body }: Delivery): Promise<HookAnswer> {
    const [, bearer] = /^Bearer ([\w-]+\.[\w-]+\.[\w-]+)$/i.exec(headers.authorization ?? '') ?? []
    if (bearer === undefined) {
      throw new Refused(
        'unauthenticated',
        'the report carries no ID token',
        "send the job's ID token, with the gateway's URL as audience, as bearer",
      )
    }
    const { approval } = readBody(body)
    const token = await this.#verify(bearer)
    const report = this.#reports[token.platform]
    if (report === undefined) {
      throw new Refused(
        'denied',
        `jobs of issuer ${token.issuer} answer no approvals`,
        'answer by another gate',
      )
    }
    await this.#spend(token)
    const outcome = await report(token, approval)
    return { status: 200, body: outcome }
  }

  /** First, so that whatever comes of it nothing else can be done with the token: neither a second approval nor an exchange. */
  async #spend({ digest, expiresAt }: PlatformToken): Promise<void> {
    const { numInsertedOrUpdatedRows: inserted } = await this.#store.db
      .insertInto('platform_tokens')
      .values({ digest, thumbprint: 'used for an approval', identity: '', expires_at: expiresAt })
      .onConflict((conflict) => conflict.column('digest').doNothing())
      .executeTakeFirst()
    if (inserted !== 1n) {
      throw new Refused('token_reused', 'this ID token was used before', 'report with a fresh ID token, once')
    }
  }
}

function readBody(body: Buffer): z.output<typeof bodyShape> {
  try {
    return bodyShape.parse(body.byteLength === 0 ? {} : JSON.parse(body.toString('utf8')))
  } catch (cause) {
    throw new Refused(
      'invalid_request',
      'the report is not `{ "approval": "apr_…" }`',
      'see docs/guide/approvals.md',
      {
        cause,
      },
    )
  }
}
