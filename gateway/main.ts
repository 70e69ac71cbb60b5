import { sign } from 'node:crypto'
import { isIP } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { type Logger, pino } from 'pino'
import { Failures } from './api/failures.ts'
import { openJobFiles } from './api/job-files.ts'
import { createMetrics } from './api/metrics.ts'
import { problemOf } from './api/problem.ts'
import { createApi } from './api/server.ts'
import { createApprovals } from './approvals/approvals.ts'
import type { ApprovalEvent } from './approvals/live-approvals.ts'
import { openGates } from './approvals/gates/open.ts'
import { GatewayError } from './core/errors.ts'
import { Gate } from './core/gate.ts'
import { LiveSessions } from './core/live-sessions.ts'
import { Observations } from './core/observations.ts'
import type { Protocol } from './core/protocol.ts'
import type { Detectors } from './core/session.ts'
import { type House, serve } from './core/serve.ts'
import { spkiPin } from './identity/certificates.ts'
import { thumbprintOf } from './identity/client-key.ts'
import { Identities } from './identity/identities.ts'
import { Issuers } from './identity/issuers.ts'
import { type Keys, openKeys } from './identity/keys.ts'
import { askGithub } from './identity/reviewed.ts'
import { networkOf } from './listener/admission.ts'
import { type Listener, listen } from './listener/listener.ts'
import { openGithubApps } from './platforms/github-apps.ts'
import { openPeople } from './login/people.ts'
import { createDetectors } from './masking/detectors.ts'
import { maskValue } from './masking/columns.ts'
import { compilePatterns } from './masking/patterns.ts'
import { InForce } from './policy/in-force.ts'
import { parseDuration } from './policy/duration.ts'
import { loadConfig, readSecret } from './policy/load.ts'
import { renderFaults } from './policy/fault.ts'
import type { Config } from './policy/schema.ts'
import { mapSecrets } from './policy/secret.ts'
import { createHttp } from './protocols/http/index.ts'
import { createKubernetes } from './protocols/kubernetes/index.ts'
import { createPostgres } from './protocols/postgres/index.ts'
import { createSsh, knownHostsKey } from './protocols/ssh/index.ts'
import type { Recordings } from './recording/event.ts'
import { markFile } from './recording/mark.ts'
import { openRecordings } from './recording/recordings.ts'
import { createAnalyzer } from './sql/create-analyzer.ts'
import { ledgerHeadRow } from './store/ledger-head.ts'
import { openStore } from './store/open.ts'
import { openSessionLog } from './store/sessions.ts'

const limits = { total: 5000, perJob: 200 } as const
const DRAIN_MS = 30_000
const LAST_WORDS_MS = 2000
const HOUSEKEEPING_MS = 3_600_000

/** A gateway that takes clients. */
export interface RunningGateway {
  readonly url: string
  readonly address: Listener['address']
  /** The pin by which clients verify it: `sha256:…` over the public key of its CA. */
  readonly pin: string
  /** Reads hoop.yaml again and puts it in force as one; sessions whose grant is no longer the same end. Rejects with `GatewayError` `invalid_config`, and changes nothing, when it has faults. Gives the versions of the policy. */
  reload(): Promise<{ readonly version: string; readonly before: string }>
  /** Takes no new client, gives sessions `graceMs` to end, closes everything. */
  close(graceMs: number): Promise<void>
}

/** Puts the gateway together from hoop.yaml and starts it. Throws `GatewayError` `invalid_config` with every fault, a line each. */
export async function startGateway(options: {
  readonly config: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Of the product, for the ledger. */
  readonly version: string
  /** The folder in which the build left the executables for jobs; none are served without. */
  readonly jobFiles?: string | undefined
  /** The head of the ledger whose loss the operator accepts. */
  readonly acceptLedgerLoss?: string | undefined
  readonly log: Logger
}): Promise<RunningGateway> {
  letBuffersPass()
  const { log } = options
  const inForce = new InForce(readConfig(options.config, options.env, log))
  // What is read of it only here stays as it is until the next start; `InForce` sees to that.
  const { config } = inForce
  const data = resolve(dirname(options.config), config.gateway.data)
  const keys = await openKeys(data, { trustDomain: config.gateway.trust_domain })
  const store = await openStore(join(data, 'hoop.db'))
  const { kid, privateKey, publicKey } = keys.recording
  const recordingsFolder = config.gateway.recordings ?? join(data, 'recordings')
  const recordings = await openRecordings({
    dir: recordingsFolder,
    keys: {
      kid,
      sign: (bytes) => sign(null, bytes, privateKey),
      publicJwk: publicKey.export({ format: 'jwk' }),
    },
    places: [markFile(join(data, 'ledger.head')), ledgerHeadRow(store, kid)],
    acceptLoss: options.acceptLedgerLoss,
    log,
  })
  let detectors = detectorsOf(config)
  const githubs = openGithubApps(config, readSecret)
  const issuers = new Issuers(() => inForce.config)
  const identities = new Identities({
    config: () => inForce.config,
    keys,
    store,
    issuers,
    review: askGithub({ apps: githubs, store }),
    report: (event) => recordings.note(event),
  })
  await identities.recover()
  const metrics = createMetrics()
  const gates = openGates({
    config: () => inForce.config,
    readSecret,
    desk: {
      answer: (id, given) => approvals.answerAs(id, given),
      show: (id) => approvals.show(id),
      look: (id, gate) => approvals.look(id, gate),
    },
    store,
    verify: (token) => issuers.verify(token),
    githubs,
    log,
  })
  const approvals = await createApprovals({
    store,
    config: () => inForce.config,
    url: config.gateway.url,
    gates: gates.gates,
    startersOf: gates.startersOf,
    onEvent: (event) => {
      metrics.approval(event)
      reportApproval(event, recordings, log)
    },
  })
  const sessions = new LiveSessions(metrics.countSessions(await openSessionLog(store)), limits)
  const analyzer = createAnalyzer()
  recordings.note({ kind: 'gateway-start', version: options.version, policy: inForce.policy.version })

  const observations = new Observations()
  const house: House = {
    gate: new Gate(() => inForce.policy, keys.digestKey),
    identities,
    approvals,
    get detectors() {
      return detectors
    },
    observations,
    recordings,
    sessions,
    now: Date.now,
    settled: (client) => listener.settled(client),
    log,
  }
  const postgres: Protocol = createPostgres({
    analyzer,
    readSecret,
    maskValue: (mask, value, textual) => maskValue(mask, value, textual, keys.digestKey),
    secure: (socket) => listener.secure(socket),
  })
  const failures = new Failures()
  const ssh: Protocol = createSsh({
    hostKey: keys.sshHost,
    thumbprint: thumbprintOf,
    readSecret,
    readDuration: parseDuration,
    failures: {
      check: (address) => failures.check(networkOf(address)),
      note: (address) => failures.note(networkOf(address)),
    },
  })
  const http = createHttp({
    house,
    readSecret,
    maskText: (mask, text) => maskValue(mask, text, true, keys.digestKey),
    problemOf,
  })
  const kubernetes = createKubernetes({ house, readSecret, problemOf })
  const api = await createApi({
    dataPaths: [http, kubernetes],
    config: () => inForce.config,
    identities,
    approvals,
    store,
    keys,
    observations,
    recordings,
    recordingsFolder,
    sshHostKey: knownHostsKey(keys.sshHost),
    jobFiles: await openJobFiles(options.jobFiles, join(data, 'client')),
    version: options.version,
    sessions,
    metrics,
    hooks: gates.hooks,
    people: openPeople({ config: () => inForce.config, store, readSecret }),
    log,
    settled: (socket) => listener.settled(socket),
  })
  const tls = await certificateOf(config, keys)
  const { host, port } = addressOf(config.gateway.listen)
  const listener = await listen({
    address: host,
    port,
    ports: { postgres: config.gateway.ports?.postgres, ssh: config.gateway.ports?.ssh },
    tls,
    http: (socket) => api.take(socket),
    protocols: {
      postgres: (socket) => void serve(postgres, socket, house),
      ssh: (socket) => void serve(ssh, socket, house),
    },
    log,
  })
  const housekeeping = setInterval(() => {
    keepHouse({ config: inForce.config, keys, identities, listener }).catch((err: unknown) =>
      log.error({ err }, 'housekeeping failed'),
    )
  }, HOUSEKEEPING_MS)

  return {
    url: config.gateway.url,
    address: listener.address,
    pin: spkiPin(keys.caPem),
    async reload() {
      const next = readConfig(options.config, options.env, log)
      // All that can fail comes before anything changes; from there on it is one turn of the loop.
      const [newDetectors, certificate] = [detectorsOf(next), await certificateOf(next, keys)]
      const before = inForce.policy.version
      inForce.replace(next)
      detectors = newDetectors
      listener.setCertificate(certificate)
      const { version } = inForce.policy
      try {
        if (version !== before) recordings.note({ kind: 'policy', version, before })
      } finally {
        sessions.recheck()
      }
      return { version, before }
    },
    async close(graceMs) {
      clearInterval(housekeeping)
      api.drain()
      // Sessions that are ended after their grace still have to tell their clients why.
      const closed = listener.close(graceMs + LAST_WORDS_MS)
      await sessions.drain(graceMs)
      identities.close()
      await closed
      await api.close()
      await http.close()
      await kubernetes.close()
      gates.close()
      await approvals.close()
      await analyzer.close()
      await recordings.close('stopped')
      await store.close()
    },
  }
}

/**
 * Counts buffers against the heap's own limit, not against V8's fixed 64 MiB: else data that only passes has all
 * garbage collected once for every 10 MB of it, which costs more than the rest of a transfer.
 */
function letBuffersPass(): void {
  if (process.versions.node.startsWith('24.'))
    setFlagsFromString('--external-memory-accounted-in-global-limit')
}

/** `hoop-access gateway`: runs until SIGTERM or SIGINT, then drains; a second signal ends it at once. */
export async function runGateway(options: {
  readonly config: string
  readonly version: string
  readonly jobFiles?: string | undefined
  readonly acceptLedgerLoss?: string | undefined
}): Promise<void> {
  const log = pino({ name: 'hoop-access', level: process.env.HOOP_LOG_LEVEL ?? 'info' }, pino.destination(2))
  const starting = startGateway({ ...options, env: process.env, log })
  // One after the other, the last one wins; the first one not before there is something to reload.
  let reloading: Promise<unknown> = starting
  process.on('SIGHUP', () => {
    reloading = reloading.then(async () => reload(await starting, log))
  })
  const gateway = await starting
  // Whoever reads that it is ready may signal at once.
  const signalled = new Promise<string>((stop) => {
    process.once('SIGTERM', stop)
    process.once('SIGINT', stop)
  })
  const { address, port } = gateway.address
  console.log(`hoop-access gateway is ready on ${address}:${port}, for clients at ${gateway.url}`)
  console.log(`clients verify it by --ca ${gateway.pin} (not secret)`)
  const signal = await signalled
  for (const again of ['SIGTERM', 'SIGINT']) process.once(again, () => process.exit(1))
  log.info({ signal }, 'stopping: sessions have 30 s to end')
  await gateway.close(DRAIN_MS)
}

async function reload(gateway: RunningGateway, log: Logger): Promise<void> {
  try {
    const { version, before } = await gateway.reload()
    log.info(
      { version, before },
      version === before ? 'read again: the policy is the same' : 'another policy is in force',
    )
  } catch (err) {
    log.error({ err }, 'the configuration was not taken over; the one before stays in force')
  }
}

function readConfig(path: string, env: Readonly<Record<string, string | undefined>>, log: Logger): Config {
  const loaded = loadConfig(path, { env, secrets: true })
  if ('faults' in loaded) {
    throw new GatewayError('invalid_config', `the configuration has faults:\n${renderFaults(loaded.faults)}`)
  }
  for (const { file, line, column, message } of loaded.warnings)
    log.warn({ at: `${file}:${line}:${column}` }, message)
  return loaded.config
}

function detectorsOf(config: Config): Detectors {
  return createDetectors({
    default: config.detectors.default,
    literals: secretsOf(config),
    patterns: compilePatterns(config.detectors.patterns),
  })
}

/** Every secret of the configuration, so that none of them ever leaves in an answer. */
function secretsOf(config: Config): readonly string[] {
  const found: string[] = []
  mapSecrets(config, (secret) => {
    const text = readSecret(secret).trim()
    // Certificates are public; a private key is found by its own format.
    if (!text.startsWith('-----BEGIN')) found.push(text)
    return undefined
  })
  return found
}

/** What people have to hear of beside the metrics. */
function reportApproval(event: ApprovalEvent, recordings: Recordings, log: Logger): void {
  if (event.kind === 'gate-failed') {
    const { error, id, gate } = event
    log.warn({ err: error, approval: id, gate }, 'a gate failed')
  }
  if (event.kind === 'store-failed')
    log.error({ err: event.error, approval: event.id }, 'the store of approvals failed')
  if (event.kind === 'glass-broken') {
    const { id: approval, ...told } = event
    recordings.note({ ...told, approval })
    log.warn({ approval, person: event.person, reason: event.reason }, 'somebody broke the glass')
  }
}

async function certificateOf(
  config: Config,
  keys: Keys,
): Promise<{ cert: string; key: string; clientCa: string }> {
  const clientCa = keys.clientCaPem
  const given = config.gateway.tls
  if (given !== undefined) return { cert: readSecret(given.cert), key: readSecret(given.key), clientCa }
  const { hostname } = new URL(config.gateway.url)
  const name = hostname.replace(/^\[(.*)\]$/, '$1')
  return {
    ...(await keys.serverCertificate([...new Set([name, 'localhost', '127.0.0.1', '::1'])])),
    clientCa,
  }
}

function addressOf(listen: string): { host: string; port: number } {
  const colon = listen.lastIndexOf(':')
  const host = listen.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  return {
    host: host === '' || (isIP(host) === 0 && host === '*') ? '::' : host,
    port: Number(listen.slice(colon + 1)),
  }
}

/** What has to be done now and then: a fresh server certificate, and rows that nobody needs any more. */
async function keepHouse(parts: {
  config: Config
  keys: Keys
  identities: Identities
  listener: Listener
}): Promise<void> {
  parts.listener.setCertificate(await certificateOf(parts.config, parts.keys))
  await parts.identities.clean()
}
