import type { Duplex } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { Refused } from './core/errors.ts'
import { type House, serve } from './core/serve.ts'
import { maskValue } from './masking/columns.ts'
import { type PostgresOptions, createPostgres } from './protocols/postgres/index.ts'
import type { News } from './protocols/postgres/news.ts'
import { createAnalyzer } from './sql/create-analyzer.ts'

/** What relays clients of PostgreSQL: the same in the gateway's own process and in a worker. */
export interface Relay {
  /** Serves one client from its first byte to its last; never rejects. */
  serve(client: Duplex, house: House): Promise<void>
  /** Greets a client, TLS and all, only to say that nobody can serve it now; never rejects. */
  turnAway(client: Duplex, house: House): Promise<void>
  /** Takes in what another relay of this gateway says. */
  hear(news: News): Promise<void>
  close(): Promise<void>
}

export function createRelay(
  options: Pick<PostgresOptions, 'secure' | 'spread' | 'readSecret'> & { readonly digestKey: Uint8Array },
): Relay {
  letBuffersPass()
  const { digestKey, readSecret, secure, spread } = options
  const analyzer = createAnalyzer()
  const postgres = createPostgres({
    analyzer,
    readSecret,
    maskValue: (mask, value, textual) => maskValue(mask, value, textual, digestKey),
    secure,
    spread,
  })
  return {
    serve: (client, house) => serve(postgres, client, house),
    turnAway: (client, house) =>
      serve(postgres, client, {
        ...house,
        identities: { ...house.identities, identify: () => Promise.reject(nobody()) },
      }),
    hear: (news) => postgres.hear(news),
    close: () => analyzer.close(),
  }
}

function nobody(): Refused {
  return new Refused(
    'overloaded',
    'the processes that relay for this gateway are all down, and are being started again',
    'connect again in a minute; where that goes on, the log of the gateway says why',
  )
}

/**
 * Counts buffers against the heap's own limit, not against V8's fixed 64 MiB: else data that only passes has all
 * garbage collected once for every 10 MB of it, which costs more than the rest of a transfer. And lets the heap grow
 * to three times what is alive before it is collected: after a quiet time V8 would have it grow by a third only, which
 * passing data fills once for every 30 MB.
 */
function letBuffersPass(): void {
  if (!process.versions.node.startsWith('24.')) return
  setFlagsFromString('--external-memory-accounted-in-global-limit')
  setFlagsFromString('--heap-growing-percent=200')
}
