import { sign } from 'node:crypto'
import { dirname, join, resolve } from 'node:path'
import type { Logger } from 'pino'
import { Failures } from './api/failures.ts'
import { openJobFiles } from './api/job-files.ts'
import { createMetrics } from './api/metrics.ts'
import { problemOf } from './api/problem.ts'
import { createApi } from './api/server.ts'
import { reportApproval } from './approval-reports.ts'
import { createApprovals } from './approvals/approvals.ts'
import { openGates } from './approvals/gates/open.ts'
import { Gate } from './core/gate.ts'
import { LiveSessions } from './core/live-sessions.ts'
import { Observations } from './core/observations.ts'
import type { Protocol } from './core/protocol.ts'
import { type House, serve } from './core/serve.ts'
import { spkiPin } from './identity/certificates.ts'
import { thumbprintOf } from './identity/client-key.ts'
import { Identities } from './identity/identities.ts'
import { Issuers } from './identity/issuers.ts'
import { openKeys } from './identity/keys.ts'
import { askGithub } from './identity/reviewed.ts'
import { networkOf } from './listener/admission.ts'
import { type Listener, listen } from './listener/listener.ts'
import { LiveDetectors } from './live-detectors.ts'
import { openGithubApps } from './platforms/github-apps.ts'
import { openPeople } from './login/people.ts'
import { maskValue } from './masking/columns.ts'
import { InForce } from './policy/in-force.ts'
import { parseDuration } from './policy/duration.ts'
import { createHttp } from './protocols/http/index.ts'
import { createKubernetes } from './protocols/kubernetes/index.ts'
import { createSsh, knownHostsKey } from './protocols/ssh/index.ts'
import { markFile } from './recording/mark.ts'
import { openRecordings } from './recording/recordings.ts'
import { createRelay } from './relay.ts'
import { keepForDays } from './retention.ts'
import { addressOf, readConfig, settingsOf } from './settings.ts'
import { claimFolder } from './store/claim.ts'
import { ledgerHeadRow } from './store/ledger-head.ts'
import { openStore } from './store/open.ts'
import { openSessionLog } from './store/sessions.ts'
import { Crew, workersOf } from './workers/crew.ts'
import { receive } from './workers/reception.ts'

const limits = { total: 5000, perJob: 200 } as const
const LAST_WORDS_MS = 2000
const HOUSEKEEPING_MS = 3_600_000
const DAY_MS = 86_400_000

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
  const { log } = options
  const inForce = new InForce(readConfig(options.config, options.env, log))
  // What is read of it only here stays as it is until the next start; `InForce` sees to that.
  const { config } = inForce
  const workers = workersOf(config)
  let crew: Crew | null = null
  const data = resolve(dirname(options.config), config.gateway.data)
  // What was opened is closed again, last first: at the end, or at once when something of it cannot be opened.
  await using opened = new AsyncDisposableStack()
  const keys = await openKeys(data, { trustDomain: config.gateway.trust_domain })
  opened.defer(claimFolder(join(data, 'gateway.lock')))
  const store = await openStore(join(data, 'hoop.db'))
  opened.defer(() => store.close())
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
  opened.defer(() => recordings.close('stopped'))
  const settings = await settingsOf(config, keys)
  const detectors = new LiveDetectors(settings)
  const { readSecret } = detectors
  const githubs = openGithubApps(config, readSecret)
  const issuers = new Issuers(() => inForce.config)
  const identities = new Identities({
    config: () => inForce.config,
    keys,
    store,
    issuers,
    review: askGithub({ apps: githubs, store, config: () => inForce.config }),
    report: (event) => recordings.note(event),
    cut: async () => crew?.cut(),
  })
  opened.defer(() => identities.close())
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
      reportApproval(event, recordings, log)
      metrics.approval(event)
    },
  })
  opened.defer(() => approvals.close())
  opened.defer(() => gates.close())
  const sessions = new LiveSessions(metrics.countSessions(await openSessionLog(store)), limits)
  recordings.note({ kind: 'gateway-start', version: options.version, policy: inForce.policy.version })

  const observations = new Observations()
  const house: House = {
    gate: new Gate(() => inForce.policy, keys.digestKey),
    identities,
    approvals,
    detectors,
    observations,
    recordings,
    sessions,
    now: Date.now,
    settled: (client) => listener.settled(client),
    log,
  }
  const relay = createRelay({
    digestKey: keys.digestKey,
    readSecret,
    secure: (socket) => listener.secure(socket),
    ...(workers > 0 && { spread: async (news) => crew?.spread(news) }),
  })
  opened.defer(() => relay.close())
  if (workers > 0) {
    const privateJwk = privateKey.export({ format: 'jwk' })
    crew = await Crew.start({
      workers,
      setup: {
        digestKey: keys.digestKey,
        recording: { dir: recordingsFolder, kid, privateJwk },
        logLevel: log.level,
      },
      settings,
      parts: { identities, approvals, sessions, observations, recordings, log },
      hear: (news) => relay.hear(news),
      log,
    })
  }
  opened.defer(() => crew?.close(LAST_WORDS_MS))
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
  opened.defer(() => http.close())
  const kubernetes = createKubernetes({ house, readSecret, problemOf })
  opened.defer(() => kubernetes.close())
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
    workersReady: () => crew?.ready ?? true,
    metrics,
    hooks: gates.hooks,
    people: openPeople({ config: () => inForce.config, store, readSecret }),
    log,
    settled: (socket) => listener.settled(socket),
  })
  opened.defer(() => api.close())
  const { retention } = config.gateway
  if (retention !== undefined) {
    const kept = keepForDays(parseDuration(retention) / DAY_MS, { recordings, store, metrics, log })
    opened.defer(() => kept.close())
  }
  const { host, port } = addressOf(config.gateway.listen)
  const listener = await listen({
    address: host,
    port,
    ports: { postgres: config.gateway.ports?.postgres, ssh: config.gateway.ports?.ssh },
    tls: settings.tls,
    http: (socket) => api.take(socket),
    protocols: {
      postgres: (socket) => void receive(socket, { crew, relay, house, listener }),
      ssh: (socket) => void serve(ssh, socket, house),
    },
    log,
  })
  /** What has to be done now and then: a fresh server certificate, and rows that nobody needs any more. */
  const keepHouse = async (): Promise<void> => {
    await identities.clean()
    const now = await settingsOf(inForce.config, keys)
    detectors.prepare(now)()
    listener.setCertificate(now.tls)
    await crew?.put(now)
  }
  const housekeeping = setInterval(() => {
    keepHouse().catch((err: unknown) => log.error({ err }, 'housekeeping failed'))
  }, HOUSEKEEPING_MS)
  const running = opened.move()

  return {
    url: config.gateway.url,
    address: listener.address,
    pin: spkiPin(keys.caPem),
    async reload() {
      const next = readConfig(options.config, options.env, log)
      // All that can fail comes before anything changes; from there on it is one turn of the loop.
      const taken = await settingsOf(next, keys)
      const putDetectors = detectors.prepare(taken)
      const before = inForce.policy.version
      inForce.replace(next)
      putDetectors()
      listener.setCertificate(taken.tls)
      const { version } = inForce.policy
      try {
        if (version !== before) recordings.note({ kind: 'policy', version, before })
      } catch (err) {
        // It may be a stricter one: a full disk does not keep it away. The next that is noted names what it follows.
        log.error({ err, version, before }, 'another policy is in force, and the ledger could not be told')
      }
      sessions.recheck()
      await crew?.put(taken)
      return { version, before }
    },
    async close(graceMs) {
      clearInterval(housekeeping)
      api.drain()
      // Sessions that are ended after their grace still have to tell their clients why.
      const closed = listener.close(graceMs + LAST_WORDS_MS)
      await Promise.all([sessions.drain(graceMs), crew?.drain(graceMs)])
      await crew?.close(LAST_WORDS_MS)
      await closed
      await running.disposeAsync()
    },
  }
}
