import { failedDeliveries, payloadOf } from '../../platforms/github-deliveries.ts'
import type { Github } from '../../platforms/github.ts'

const LOOK_MS = 60_000
/** What is older is of jobs that gave up, or that somebody let in by hand. */
const OLDEST_MS = 86_400_000
const ATTEMPTS = 10
const MOST = 1000

interface MissedOptions {
  readonly github: Github
  readonly event: string
  readonly take: (payload: unknown) => Promise<unknown>
  /** One could not be taken, or the list not be read: told once for all looks that fail in a row. It is tried again in a minute. */
  readonly failed: (error: unknown, at: 'webhook' | 'list') => void
}

/**
 * Takes from GitHub's own list the webhooks of an event that it could not deliver: the gateway was away, failed to answer,
 * or is out of GitHub's reach. Gates look by themselves; a protection rule is asked by a webhook alone.
 */
export class GithubMissed {
  readonly #options: MissedOptions
  readonly #closed = new AbortController()
  /** How often each was tried, by what GitHub calls it; one that was taken, for good. */
  readonly #tried = new Map<string, number>()
  readonly #timer: NodeJS.Timeout
  #blind = false

  constructor(options: MissedOptions) {
    this.#options = options
    let looking = false
    this.#timer = setInterval(() => {
      if (looking) return
      looking = true
      void this.#look().finally(() => {
        looking = false
      })
    }, LOOK_MS)
    this.#timer.unref()
  }

  close(): void {
    clearInterval(this.#timer)
    this.#closed.abort(new Error('the gateway is stopping'))
  }

  async #look(): Promise<void> {
    const { github, event, take, failed } = this.#options
    const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(LOOK_MS)])
    try {
      for (const delivery of await failedDeliveries(github, {
        event,
        since: Date.now() - OLDEST_MS,
        signal,
      })) {
        const tried = this.#tried.get(delivery.guid) ?? 0
        if (tried >= ATTEMPTS) continue
        this.#note(delivery.guid, tried + 1)
        try {
          await take(await payloadOf(github, delivery, signal))
          this.#note(delivery.guid, ATTEMPTS)
        } catch (error) {
          failed(error, 'webhook')
        }
      }
      this.#blind = false
    } catch (error) {
      if (this.#closed.signal.aborted || this.#blind) return
      this.#blind = true
      failed(error, 'list')
    }
  }

  #note(guid: string, tried: number): void {
    const [oldest] = this.#tried.keys()
    if (this.#tried.size >= MOST && oldest !== undefined && !this.#tried.has(guid)) this.#tried.delete(oldest)
    this.#tried.set(guid, tried)
  }
}
