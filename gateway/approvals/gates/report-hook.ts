import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import type { PlatformToken } from '../../identity/issuers.ts'
import type { Store } from '../../store/open.ts'
import type { Outcome } from '../approval.ts'
import type { AnswerDesk } from './gate.ts'
import type { Delivery, Hook, HookAnswer } from './hook.ts'

/** What became of a report, and of which approval. */
export type Reported = Outcome & { readonly id: string }

/**
 * Takes the report of a job that people let go on: what they let go on is proved by the job's own ID token. `spend` has to
 * come before the answer: from then on the token is good for this approval and for nothing else.
 */
export type TakeReport = (
  token: PlatformToken,
  approval: string | null,
  spend: (approval: string) => Promise<void>,
) => Promise<Reported>

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
  readonly #show: AnswerDesk['show']
  readonly #reports: Readonly<Partial<Record<PlatformToken['platform'], TakeReport>>>

  constructor(options: {
    readonly verify: (token: string) => Promise<PlatformToken>
    readonly store: Store
    readonly desk: AnswerDesk
    readonly reports: Readonly<Partial<Record<PlatformToken['platform'], TakeReport>>>
  }) {
    this.#verify = options.verify
    this.#store = options.store
    this.#show = (id) => options.desk.show(id)
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
    const outcome =
      (await this.#before(token, approval)) ?? (await report(token, approval, (id) => this.#spend(token, id)))
    return { status: 200, body: outcome }
  }

  /** What became of the approval that this token was spent on, where that is over: the first answer may have been lost. */
  async #before({ digest }: PlatformToken, approval: string | null): Promise<Reported | null> {
    const used = await this.#store.db
      .selectFrom('platform_tokens')
      .select('identity')
      .where('digest', '=', digest)
      .where('thumbprint', '=', SPENT)
      .executeTakeFirst()
    if (used === undefined || (approval !== null && approval !== used.identity)) return null
    const id = used.identity
    const state = (await this.#show(id))?.state ?? 'pending'
    if (state === 'pending') return null
    return state === 'approved' || state === 'used'
      ? { kind: 'decided', state: 'approved', id }
      : { kind: 'late', state, id }
  }

  /** A lost answer may be asked for again; neither a second approval nor an exchange may be had for the token. */
  async #spend({ digest, expiresAt }: PlatformToken, approval: string): Promise<void> {
    await this.#store.transaction(async (tx) => {
      const used = await tx
        .selectFrom('platform_tokens')
        .select(['identity', 'thumbprint'])
        .where('digest', '=', digest)
        .executeTakeFirst()
      if (used?.identity === approval && used.thumbprint === SPENT) return
      if (used !== undefined)
        throw new Refused(
          'token_reused',
          'this ID token was used before',
          'report with a fresh ID token, once',
        )
      await tx
        .insertInto('platform_tokens')
        .values({ digest, thumbprint: SPENT, identity: approval, expires_at: expiresAt })
        .execute()
    })
  }
}

/** Where a key's thumbprint stands in rows of tokens that were exchanged: no key has it. */
const SPENT = 'approval'

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
