import { Refused } from '../core/errors.ts'
import type { Origin } from '../core/identity.ts'
import { type Starter, namedStarters } from '../platforms/starter.ts'
import { botOf } from '../policy/bots.ts'
import type { Config } from '../policy/schema.ts'

/** Jobs of which it is remembered who set them off. */
const JOBS_KEPT = 1000

/** Those who set off the jobs that ask: what one started, another has to approve. */
export class Requesters {
  readonly #config: () => Config
  readonly #startersOf: (origin: Origin) => Promise<readonly Starter[]>
  /** By job: who set it off never changes, so it is asked until it was told once. */
  readonly #known = new Map<string, Promise<readonly Starter[]>>()

  /** `startersOf` asks the platform, where the job's token does not tell; rejects with `Refused` when that cannot be told now. */
  constructor(options: {
    readonly config: () => Config
    readonly startersOf: (origin: Origin) => Promise<readonly Starter[]>
  }) {
    this.#config = options.config
    this.#startersOf = options.startersOf
  }

  /** Throws `Refused` where the job's token tells that nobody could approve what it asks. */
  admit(origin: Origin): void {
    refuseUnknown(namedStarters(origin), this.#config())
  }

  /** Asks already now who set off a job: the platform may be down when somebody answers. Never throws. */
  learn(origin: Origin): void {
    this.#told(origin).catch(() => undefined) // it is asked again, and told, when somebody answers
  }

  /** Rejects with `Refused` when a person is one of those who set off a job, or may be; `origin` is null when it is not known. */
  async refuse(person: string, origin: Origin | null): Promise<void> {
    if (origin === null) {
      throw new Refused(
        'denied',
        'the store no longer knows who set off the job that asks',
        'run the job again, and approve what it asks then',
      )
    }
    refuseStarter(person, namedStarters(origin), this.#config())
    refuseStarter(person, await this.#told(origin), this.#config())
  }

  #told(origin: Origin): Promise<readonly Starter[]> {
    const job = JSON.stringify([origin.issuer, origin.url, origin.claims])
    const known = this.#known.get(job)
    if (known !== undefined) return known
    const told = this.#startersOf(origin)
    if (this.#known.size >= JOBS_KEPT) this.#known.clear()
    this.#known.set(job, told)
    told.catch(() => {
      if (this.#known.get(job) === told) this.#known.delete(job)
    })
    return told
  }
}

/** Throws `Refused` when a person is one of those who set off the job, or is behind a bot that did. */
function refuseStarter(person: string, starters: readonly Starter[], config: Config): void {
  const known = Object.hasOwn(config.people, person) ? config.people[person] : undefined
  for (const { kind, id } of starters) {
    // In any case: some controllers tell users by it, and others do not.
    const own = known === undefined || kind === 'cause' ? undefined : known[kind]
    if (own !== undefined && String(own).toLowerCase() === id.toLowerCase())
      throw new Refused('denied', `${person} set off the job that asks`, 'have somebody else approve it')
  }
  refuseUnknown(starters, config)
  for (const starter of starters) {
    const bot = botOf(starter, config)
    if (bot?.behind.has(person) !== true) continue
    throw new Refused(
      'denied',
      `${person} is behind ${bot.name}, which set off the job that asks`,
      'have somebody else approve it',
    )
  }
}

/** Throws `Refused` when a bot set off the job of which nobody knows who is behind it: whoever approves may be. */
function refuseUnknown(starters: readonly Starter[], config: Config): void {
  const unknown = starters.find((starter) => starter.bot && botOf(starter, config) === null)
  if (unknown === undefined) return
  const { kind, id, name } = unknown
  const entry = `${kind}: ${kind === 'jenkins' || kind === 'cause' ? JSON.stringify(id) : id}`
  throw new Refused(
    'denied',
    `nobody can approve what this job asks: it was set off by ${name}, which is no person, and who is behind that is not known`,
    id === ''
      ? 'have a person start the job'
      : `have a person start the job, or say in hoop.yaml who is behind it: \`bots: { NAME: { ${entry}, behind: [PERSON] } }\``,
  )
}
