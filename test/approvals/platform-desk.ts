import { generateKeyPairSync } from 'node:crypto'
import type { LiveApprovals } from '../../gateway/approvals/live-approvals.ts'
import { createApprovals } from '../../gateway/approvals/approvals.ts'
import { type OpenGates, openGates } from '../../gateway/approvals/gates/open.ts'
import type { Identity } from '../../gateway/core/identity.ts'
import { Issuers } from '../../gateway/identity/issuers.ts'
import { openGithubApps } from '../../gateway/platforms/github-apps.ts'
import { readSecret } from '../../gateway/policy/load.ts'
import { type Config, configSchema } from '../../gateway/policy/schema.ts'
import { type Store, openStore } from '../../gateway/store/open.ts'
import { identity } from '../core/doubles.ts'
import { keep } from './desk.ts'

export const gatewayUrl = 'https://hoop.test:8443'
export const times = { attempt: 5000, firstRetry: 20, lastRetry: 50, settle: 300 }

/** Approvals with every gate that a configuration has, as main.ts puts them together. */
export interface PlatformDesk {
  readonly approvals: LiveApprovals
  readonly gates: OpenGates
  readonly store: Store
  config: Config
  /** Sends a webhook or a report, as it would come in. */
  hook(
    name: string,
    headers: Readonly<Record<string, string>>,
    body: string,
  ): Promise<{ status: number; body?: object }>
  /** The same store and configuration in a gateway that has just started. */
  restart(): Promise<PlatformDesk>
}

export async function makePlatformDesk(config: object, store?: Store): Promise<PlatformDesk> {
  const kept = store ?? (await openStore(':memory:'))
  const desk = { config: configSchema.parse({ gateway: { url: gatewayUrl }, ...config }) }
  const issuers = new Issuers(() => desk.config)
  const gates = openGates({
    config: () => desk.config,
    readSecret,
    desk: {
      answer: (id, given) => approvals.answerAs(id, given),
      show: (id) => approvals.show(id),
      look: (id, gate) => approvals.look(id, gate),
    },
    store: kept,
    verify: (token) => issuers.verify(token),
    githubs: openGithubApps(desk.config, readSecret),
    log: { warn: () => undefined },
  })
  const approvals = await createApprovals({
    store: kept,
    config: () => desk.config,
    url: gatewayUrl,
    gates: gates.gates,
    startersOf: gates.startersOf,
    times,
  })
  return Object.assign(desk, {
    approvals,
    gates,
    store: kept,
    async hook(name: string, headers: Readonly<Record<string, string>>, body: string) {
      const hook = gates.hooks.find((one) => one.name === name)
      if (hook === undefined) throw new Error(`there is no hook ${name}`)
      return hook.take({ headers, body: Buffer.from(body) })
    },
    async restart() {
      await approvals.close()
      return makePlatformDesk(config, kept)
    },
  })
}

/** An identity of a job with these claims, in the store. */
export async function jobIdentity(
  desk: PlatformDesk,
  origin: Pick<Identity['origin'], 'platform' | 'claims'> & {
    readonly issuer?: string
    readonly url?: string
  },
): Promise<Identity> {
  const id = `idn_${Math.random()
    .toString(36)
    .slice(2)
    .padEnd(26, 'a')
    .replaceAll(/[^a-z2-7]/g, 'b')}`
  const job = identity({ id, origin: { issuer: origin.platform, url: null, ...origin } })
  await keep(desk.store, job)
  return job
}

/** An RSA key that is not the App's. */
export const otherKey = (): string =>
  generateKeyPairSync('rsa', { modulusLength: 2048 })
    .privateKey.export({ type: 'pkcs1', format: 'pem' })
    .toString()
