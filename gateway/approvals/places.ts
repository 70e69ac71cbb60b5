import { Refused } from '../core/errors.ts'
import { type Identity, chainOf } from '../core/identity.ts'

/** How many questions may be open, in all and for one delegation tree, and how many one tree may ask within a minute. */
export interface PlaceLimits {
  readonly pending: number
  readonly pendingPerJob: number
  readonly askedPerMinute: number
}

const MINUTE_MS = 60_000
/** Jobs remembered before those with nothing open and an old minute are forgotten. */
const SWEEP_AT = 10_000

interface Place {
  open: number
  /** When its minute began, and how often it asked since. */
  since: number
  asked: number
}

/** The places for open questions: no job can crowd out the others or pester people, and memory is bounded. */
export class Places {
  readonly #limits: PlaceLimits
  readonly #jobs = new Map<string, Place>()
  readonly #now: () => number
  #pending = 0

  constructor(limits: PlaceLimits, now: () => number = Date.now) {
    this.#limits = limits
    this.#now = now
  }

  /** Takes a place and gives what frees it (once, however often it is called); throws `Refused` `overloaded`. */
  take(identity: Identity): () => void {
    const place = this.#placeOf(chainOf(identity)[0]?.id ?? identity.id)
    const { pending, pendingPerJob, askedPerMinute } = this.#limits
    if (place.open >= pendingPerJob)
      throw full(`this job already waits for ${place.open} approvals, which is all it may`)
    if (this.#pending >= pending) throw full('the gateway already waits for as many approvals as it may')
    // Asking and leaving in a loop would bury the one question that matters under those that do not.
    if (place.asked >= askedPerMinute)
      throw full(`this job asked for ${place.asked} approvals within a minute, which is all it may`)
    this.#pending++
    place.open++
    place.asked++
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#pending--
      place.open--
    }
  }

  #placeOf(job: string): Place {
    const now = this.#now()
    if (this.#jobs.size >= SWEEP_AT) {
      for (const [name, { open, since }] of this.#jobs)
        if (open === 0 && now - since >= MINUTE_MS) this.#jobs.delete(name)
    }
    const place = this.#jobs.get(job) ?? { open: 0, since: now, asked: 0 }
    this.#jobs.set(job, place)
    if (now - place.since >= MINUTE_MS) Object.assign(place, { since: now, asked: 0 })
    return place
  }
}

function full(why: string): Refused {
  return new Refused('overloaded', why, 'wait until some are answered')
}
