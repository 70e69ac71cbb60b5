import type { Protocol } from '../../core/protocol.ts'
import type { Analyzer } from '../../sql/analyzer.ts'
import { CancelKeys } from './cancel.ts'
import { Catalogs } from './catalogs.ts'
import { PostgresConversation } from './conversation.ts'
import { type Secure, readGreeting } from './greeting.ts'
import type { News, Spread } from './news.ts'
import type { MaskValue } from './rows.ts'
import { settingsRequest } from './startup.ts'
import type { ReadSecret } from './target.ts'

export interface PostgresOptions {
  readonly analyzer: Analyzer
  /** Does the TLS handshake after an SSLRequest; asks for a client certificate and verifies its chain. */
  readonly secure: Secure
  readonly readSecret: ReadSecret
  readonly maskValue: MaskValue
  /** Tells the other relays of this gateway; absent: there are none. */
  readonly spread?: Spread | undefined
}

/** The protocol, and what it hears of the other relays. */
export interface Postgres extends Protocol {
  /** Resolves once it was taken to heart; nothing that comes later is done without it. */
  hear(news: News): Promise<void>
}

/** The PostgreSQL protocol, version 3, for clients that reach a database through the gateway. */
export function createPostgres(options: PostgresOptions): Postgres {
  const cancelKeys = new CancelKeys()
  const catalogs = new Catalogs()
  const parts = { ...options, cancelKeys, catalogs }
  return {
    name: 'postgres',
    async hear(news) {
      if (news.kind === 'cancel') await cancelKeys.show(news.pid, news.secret)
      else catalogs.outdate(news)
    },
    async greet(client, signal) {
      const greeted = await readGreeting(client, options.secure, signal)
      if (greeted.kind === 'cancel') {
        // Clients take the end of this connection for the sign that the cancel has been delivered.
        const { pid, secret } = greeted
        if (!(await cancelKeys.show(pid, secret))) await options.spread?.({ kind: 'cancel', pid, secret })
        client.end()
        return null
      }
      const { startUp, proof } = greeted
      const hello = {
        connection: startUp.user,
        database: startUp.database,
        proof,
        request: settingsRequest(startUp.settings),
        agent: startUp.settings.get('application_name')?.slice(0, 64) ?? null,
      }
      return new PostgresConversation(parts, greeted.client, hello, startUp.settings)
    },
  }
}
