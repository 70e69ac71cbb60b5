import type { Metrics } from './api/metrics.ts'
import type { GatewayRecordings } from './recording/recordings.ts'
import type { Removal } from './recording/removal.ts'
import { removeRows } from './store/retention.ts'
import type { Store } from './store/open.ts'

const everyMs = 3_600_000
const dayMs = 86_400_000
/** A session's row is a little older than its recording: at midnight it is of the day before. */
const rowsBeforeMs = 60_000

interface RetentionOptions {
  readonly recordings: Pick<GatewayRecordings, 'removeOld'>
  readonly store: Store
  readonly metrics: Pick<Metrics, 'retention'>
  readonly log: Readonly<Record<'info' | 'warn' | 'error', (fields: object, message: string) => void>>
}

/**
 * Removes what is older than `keep` days, now and once an hour, until it is closed: recordings first, then the rows of
 * sessions and approvals of days that are gone. What fails is logged, counted, and tried again.
 */
export function keepForDays(keep: number, options: RetentionOptions): { close(): Promise<void> } {
  const stop = new AbortController()
  /** Why each day could not go, as it was said last. */
  const said = new Map<string, string>()
  let running: Promise<void> | null = null
  const begin = (): void => {
    running ??= pass(keep, said, { ...options, signal: stop.signal })
      .catch((err: unknown) => {
        options.metrics.retention(null)
        options.log.error({ err }, 'what is older than `gateway.retention` could not be removed')
      })
      .finally(() => {
        running = null
      })
  }
  begin()
  const timer = setInterval(begin, everyMs).unref()
  return {
    async close() {
      clearInterval(timer)
      stop.abort()
      await running
    },
  }
}

async function pass(
  keep: number,
  said: Map<string, string>,
  { recordings, store, metrics, log, signal }: RetentionOptions & { readonly signal: AbortSignal },
): Promise<void> {
  const removal = await recordings.removeOld(keep, signal)
  if (removal === null || signal.aborted) return
  const { removed, kept } = removal
  for (const { day, sessions } of removed)
    log.info({ day, sessions, keep }, 'recordings were removed: they are older than `gateway.retention`')
  for (const { day, why } of kept) {
    if (said.get(day) !== why)
      log.warn({ day, why }, 'recordings are older than `gateway.retention` and stay')
    said.set(day, why)
  }
  const sessions = removed.reduce((sum, day) => sum + day.sessions, 0)
  metrics.retention({ sessions, overdue: kept.length })
  for (const { from, to } of spans(removal)) await removeRows(store, { from, to, now: Date.now(), signal })
}

/** The times whose days are gone, between those that are kept. */
function* spans({ before, kept }: Removal): Generator<{ from: number; to: number }> {
  let from = 0
  for (const { day } of kept) {
    yield { from, to: Date.parse(day) - rowsBeforeMs }
    from = Date.parse(day) + dayMs
  }
  yield { from, to: before - rowsBeforeMs }
}
