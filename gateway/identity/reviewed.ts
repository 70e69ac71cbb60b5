import { z } from 'zod'
import { Refused } from '../core/errors.ts'
import type { GithubApps } from '../platforms/github-apps.ts'
import { type Run, type RunReview, readProtected, readReviews, readRun } from '../platforms/github-runs.ts'
import { githubStarter } from '../platforms/starter.ts'
import { botOf } from '../policy/bots.ts'
import type { Config } from '../policy/schema.ts'
import type { Store } from '../store/open.ts'
import { claimText } from './claims.ts'
import type { PlatformToken } from './issuers.ts'

/** Finds who let a job into its environment; rejects with `Refused` when nobody did who could. */
export type Review = (token: PlatformToken) => Promise<Readonly<Record<string, string>>>

/** For a gateway that has nobody to ask. */
export const unreviewed: Review = async () => {
  throw mismatch(
    'the stage wants a reviewed environment, and this gateway has no GitHub App with which to ask who reviewed it',
    'give the issuer an `app` in hoop.yaml, or leave `reviewed` out',
  )
}

/**
 * Asks GitHub, for stages that say `reviewed: true`. A token with an environment says only that the environment let the job
 * through: this finds that it has required reviewers whom nobody may pass by, and which people let this run through.
 * Gives claims that name them, for the identity and every record.
 */
export function askGithub(options: {
  readonly apps: GithubApps
  readonly store: Store
  /** The configuration in force at the moment of the call. */
  readonly config: () => Config
  readonly now?: () => number
}): Review {
  const { apps, store, config, now = Date.now } = options
  return async (token) => {
    const github = apps.get(token.issuer)
    if (github === undefined) return unreviewed(token)
    const claim = (name: string): string => {
      const value = claimText(token.claims[name])
      if (value !== null && value !== '') return value
      throw mismatch(
        `the stage wants a reviewed environment, and the ID token has no ${name}`,
        'give the job an `environment:` with required reviewers',
      )
    }
    const repository = claim('repository')
    const [id, attempt] = [claim('run_id'), claim('run_attempt')]
    const [environment, run] = await Promise.all([
      readProtected(github, { repository, environment: claim('environment') }),
      readRun(github, { repository, id, attempt }),
    ])
    if (String(run.repository.id) !== claim('repository_id'))
      throw mismatch(`${repository} is another repository by now`, 'start a new run in it')
    const reviews = await readReviews(github, { repository, run: id, environment })
    const approvals = reviews.filter(({ state }) => state === 'approved')
    const key = [token.url, run.repository.id, id, environment.id].join(' ')
    const fresh = await leaveOutSeen(store, { key, attempt: Number(attempt), approvals, now: now() })
    if (fresh.length === 0) {
      throw mismatch(
        approvals.length === 0
          ? `nobody approved run ${id} for environment ${environment.name}`
          : `nobody approved attempt ${attempt} of run ${id} for environment ${environment.name}: the approvals there are were for an earlier attempt`,
        'have it approved, or start a new run',
      )
    }
    const behind = peopleBehind(run, config())
    const starters = new Set([run.actor.id, run.triggering_actor.id, Number(claim('actor_id')), ...behind])
    // GitHub does not know who is behind a bot, and lets them review what it started.
    const prevented = environment.preventsSelfReview && behind.length === 0
    if (!prevented && fresh.every(({ user }) => starters.has(user.id))) {
      throw mismatch(
        `run ${id} was approved only by who set it off`,
        'have somebody else approve it; "Prevent self-review" in the settings of the environment makes GitHub see to that',
      )
    }
    const people = [...new Map(fresh.map(({ user }) => [user.id, user.login]))]
    return {
      reviewed_by: people.map(([, login]) => login).join(', '),
      reviewed_by_ids: people.map(([user]) => user).join(', '),
      triggering_actor: run.triggering_actor.login,
      triggering_actor_id: String(run.triggering_actor.id),
    }
  }
}

/** The accounts of those who may have had a bot set a run off; throws `Refused` when they are not known. */
function peopleBehind(run: Run, config: Config): readonly number[] {
  return [run.actor, run.triggering_actor].flatMap((user) => {
    const { bot, kind, id, name } = githubStarter(user)
    const known = botOf({ kind, id }, config)
    if (known === null && !bot) return []
    if (known === null) {
      throw mismatch(
        `run ${run.id} was set off by ${name}, which is no person, so whoever approved it may be behind that`,
        `have a person start the run, or say in hoop.yaml who is behind it: \`bots: { NAME: { github: ${id}, behind: [PERSON] } }\``,
      )
    }
    return [...known.behind].map((person) => {
      const account = Object.hasOwn(config.people, person) ? config.people[person]?.github : undefined
      if (account !== undefined) return account
      throw mismatch(
        `run ${run.id} was set off by ${known.name}, and ${person}, who is behind it, has no \`github\` in \`people\` by which GitHub's reviewers could be told from them`,
        'have a person start the run, or give them one in hoop.yaml',
      )
    })
  })
}

const seenShape = z.record(z.string(), z.int())

/**
 * GitHub tells neither time nor attempt of an approval, so on a later attempt an old one looks like a new one: only what
 * goes beyond the approvals that were there when an earlier attempt asked can be of this one.
 */
async function leaveOutSeen(
  store: Store,
  found: {
    readonly key: string
    readonly attempt: number
    readonly approvals: readonly RunReview[]
    readonly now: number
  },
): Promise<readonly RunReview[]> {
  const { key, attempt, approvals, now } = found
  return store.transaction(async (tx) => {
    const rows = await tx
      .selectFrom('run_reviews')
      .select(['attempt', 'seen'])
      .where('run', '=', key)
      .execute()
    const earlier = new Map<string, number>()
    for (const row of rows) {
      if (row.attempt >= attempt) continue
      for (const [review, count] of Object.entries(seenShape.parse(JSON.parse(row.seen))))
        earlier.set(review, Math.max(earlier.get(review) ?? 0, count))
    }
    const counts: Record<string, number> = {}
    const fresh = approvals.filter((review) => {
      const name = nameOf(review)
      const count = (counts[name] = (counts[name] ?? 0) + 1)
      return count > (earlier.get(name) ?? 0)
    })
    const seen = JSON.stringify(counts)
    await tx
      .insertInto('run_reviews')
      .values({ run: key, attempt, seen, seen_at: now })
      .onConflict((conflict) => conflict.columns(['run', 'attempt']).doUpdateSet({ seen, seen_at: now }))
      .execute()
    return fresh
  })
}

/** One person's approvals are told apart by nothing, so they are counted. */
function nameOf({ user }: RunReview): string {
  return String(user.id)
}

function mismatch(why: string, next: string): Refused {
  return new Refused('subject_mismatch', why, next)
}
