import type { Protocol } from '../../core/protocol.ts'
import type { Analyzer } from '../../sql/analyzer.ts'
import { CancelKeys } from './cancel.ts'
import { Catalogs } from './catalogs.ts'
import { PostgresConversation } from './conversation.ts'
import { type Secure, readGreeting } from './greeting.ts'
import type { MaskValue } from './rows.ts'
import { settingsRequest } from './startup.ts'
import type { ReadSecret } from './target.ts'

export interface PostgresOptions {
  readonly analyzer: Analyzer
  /** Does the TLS handshake after an SSLRequest; asks for a client certificate and verifies its chain. */
  readonly secure: Secure
  readonly readSecret: ReadSecret
  readonly maskValue: MaskValue
}

/** The PostgreSQL protocol, version 3, for clients that reach a database through the gateway. */
export function createPostgres(options: PostgresOptions): Protocol {
  const cancelKeys = new CancelKeys()
  const parts = { ...options, cancelKeys, catalogs: new Catalogs() }
  return {
    name: 'postgres',
    async greet(client, signal) {
      const greeted = await readGreeting(client, options.secure, signal)
      if (greeted.kind === 'cancel') {
        // Clients take the end of this connection for the sign that the cancel has been delivered.
        await cancelKeys.show(greeted.pid, greeted.secret)
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
