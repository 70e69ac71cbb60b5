import { z } from 'zod'
import { Refused } from '../core/errors.ts'
import type { Origin } from '../core/identity.ts'
import type { Config, Secret } from '../policy/schema.ts'
import { TryLater, call } from './call.ts'
import type { Starter } from './starter.ts'

const buildShape = z.object({
  number: z.int(),
  url: z.string(),
  building: z.boolean(),
  actions: z.array(
    z.object({
      _class: z.string().optional(),
      userId: z.string().nullish(),
      causes: z
        .array(
          z.object({
            _class: z.string().optional(),
            userId: z.string().nullish(),
            upstreamUrl: z.string().nullish(),
            upstreamBuild: z.int().nullish(),
          }),
        )
        .optional(),
    }),
  ),
})
const inputsShape = z.array(z.object({ id: z.string(), message: z.string() }))

const APPROVER = 'org.jenkinsci.plugins.workflow.support.steps.input.ApproverAction'
/** A timer is set by whoever configures the job, and starts it for nobody. */
const TIMER = 'hudson.triggers.TimerTrigger$TimerTriggerCause'
/** Whom the controller itself acts as, and whoever is not logged in. */
const nobody = /^(system|anonymous|unknown)$/i
/** These come beside the cause that names who did it. */
const companions = new Set([
  'org.jenkinsci.plugins.workflow.cps.replay.ReplayCause',
  'org.jenkinsci.plugins.pipeline.modeldefinition.causes.RestartDeclarativePipelineCause',
])

/** One build, as its controller describes it. */
export interface JenkinsBuild {
  readonly building: boolean
  /** Users that answered an `input` with yes, in order. */
  readonly approvers: readonly string[]
  /** Users that started it, and causes that name nobody; empty when another build did. */
  readonly starters: readonly Starter[]
  /** Pages of the builds that started it. */
  readonly upstreams: readonly string[]
}

/** An `input` that waits. */
export interface JenkinsInput {
  readonly id: string
  readonly message: string
}

/** The controller of one issuer, asked as the user of hoop.yaml. */
export interface Jenkins {
  /** `page` is the build's, with a slash at its end. */
  build(page: string, signal?: AbortSignal): Promise<JenkinsBuild>
  /** Of the Pipeline: REST API plugin. */
  inputs(page: string, signal?: AbortSignal): Promise<readonly JenkinsInput[]>
}

/** The controllers of a configuration, by the issuer's name: those of Jenkins issuers with user and token. */
export function openJenkinses(
  config: Config,
  readSecret: (secret: Secret) => string,
): ReadonlyMap<string, Jenkins> {
  const found = new Map<string, Jenkins>()
  for (const [name, issuer] of Object.entries(config.issuers)) {
    if (issuer.platform !== 'jenkins' || issuer.user === undefined || issuer.token === undefined) continue
    const { user, token, url } = issuer
    const get = async <Shape extends z.ZodType>(
      shape: Shape,
      address: string,
      signal?: AbortSignal,
    ): Promise<z.output<Shape>> => {
      // The page is from a token of this issuer; the password goes to no other place.
      if (new URL(address).origin !== new URL(url).origin) throw lyingJenkins('the build is elsewhere')
      const credentials = Buffer.from(`${user}:${readSecret(token).trim()}`).toString('base64')
      const { status, json } = await call('Jenkins', {
        method: 'GET',
        url: address,
        headers: { authorization: `Basic ${credentials}` },
        signal,
      })
      if (status !== 200) {
        throw new Refused(
          'upstream_failed',
          `Jenkins answers ${status}`,
          status === 404
            ? 'check that the plugin "Pipeline: REST API" is installed, and that the user may read the job'
            : 'check `user` and `token` of the issuer in hoop.yaml, and that the user may read the job',
        )
      }
      const parsed = shape.safeParse(json)
      if (!parsed.success) throw lyingJenkins('it is not as documented')
      return parsed.data
    }
    found.set(name, {
      async build(page, signal) {
        const tree =
          'number,url,building,actions[_class,userId,causes[_class,userId,upstreamUrl,upstreamBuild]]'
        const build = await get(buildShape, `${page}api/json?tree=${encodeURIComponent(tree)}`, signal)
        if (new URL(build.url).pathname !== new URL(page).pathname)
          throw lyingJenkins('it is about another build')
        const causes = build.actions.flatMap((action) => action.causes ?? [])
        const root = page.slice(0, page.indexOf('/job/') + 1)
        return {
          building: build.building,
          approvers: build.actions.flatMap(({ _class, userId }) =>
            _class === APPROVER && typeof userId === 'string' ? [userId] : [],
          ),
          starters: startersIn(causes),
          // Below the controller's root: `job/NAME/` and a number.
          upstreams: causes.flatMap(({ upstreamUrl: job, upstreamBuild: number }) =>
            typeof job === 'string' && typeof number === 'number'
              ? [new URL(`${job.replace(/\/*$/, '/')}${number}/`, root).href]
              : [],
          ),
        }
      },
      inputs: (page, signal) => get(inputsShape, `${page}wfapi/pendingInputActions`, signal),
    })
  }
  return found
}

type Causes = NonNullable<z.output<typeof buildShape>['actions'][number]['causes']>

/** Who started a build by its causes, and what did where a cause names neither a user nor another build. */
function startersIn(causes: Causes): readonly Starter[] {
  const found = causes
    .filter(({ _class: cause = '' }) => !companions.has(cause))
    .flatMap(({ _class: cause = '', userId, upstreamUrl, upstreamBuild }): Starter[] => {
      if (typeof userId === 'string')
        return [{ kind: 'jenkins', id: userId, name: userId, bot: nobody.test(userId) }]
      if (typeof upstreamUrl === 'string' && typeof upstreamBuild === 'number') return []
      return [{ kind: 'cause', id: cause, name: cause || 'a cause without a name', bot: cause !== TIMER }]
    })
  const upstream = causes.some(({ upstreamUrl }) => typeof upstreamUrl === 'string')
  if (found.length > 0 || upstream) return found
  return [{ kind: 'cause', id: '', name: 'something that its controller does not name', bot: true }]
}

/** Builds that are looked through for who set one off. */
const CHAIN_CAP = 20

/**
 * Who started a build, and the builds that started it, where its controller can be asked: its token does not say. Rejects
 * with `Refused` when one of them cannot be seen, for somebody it does not show may have started it all.
 */
export async function jenkinsStarters(
  jenkinses: ReadonlyMap<string, Jenkins>,
  { issuer, platform, url }: Origin,
): Promise<readonly Starter[]> {
  if (platform !== 'jenkins') return []
  const jenkins = jenkinses.get(issuer)
  if (jenkins === undefined || url === null) {
    throw new Refused(
      'denied',
      'this gateway cannot ask the controller who started the build, so whoever approves may be the one',
      jenkins === undefined
        ? 'give the issuer `user` and `token` in hoop.yaml'
        : 'correct `url` of the issuer: the page of the build, which its token names, is elsewhere',
    )
  }
  const pages = new Set([url])
  const starters: Starter[] = []
  for (const page of pages) {
    const build = await jenkins.build(page).catch((error: unknown) => {
      throw page === url || error instanceof TryLater ? error : hidden(page, error)
    })
    starters.push(...build.starters)
    for (const upstream of build.upstreams) pages.add(upstream)
    if (pages.size > CHAIN_CAP) throw hidden(page, null)
  }
  return starters
}

function hidden(page: string, cause: unknown): Refused {
  return new Refused(
    'denied',
    `the build was started by others, and who started ${new URL(page).pathname} cannot be seen`,
    'let the gateway’s user read that job, or start the build by hand',
    { cause },
  )
}

/** What does not fit what was asked for. */
function lyingJenkins(what: string): Refused {
  return new Refused(
    'upstream_untrusted',
    `the answer of Jenkins cannot be trusted: ${what}`,
    'check `url` of the issuer',
  )
}
