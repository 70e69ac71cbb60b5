import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeAuthority } from './certificates.ts'
import { freePort } from './port.ts'

const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
const binary = join(cache, 'hoop-access/kube-apiserver/kube-apiserver')
const runs = (program: string, ...args: string[]): boolean => spawnSync(program, args).status === 0

/** What is missing for tests against a cluster, or null: said where tests are skipped. */
export const missingForKubernetes: string | null = !existsSync(binary)
  ? 'kube-apiserver is not built: test/servers/kube-apiserver.sh builds it'
  : !runs('etcd', '--version')
    ? 'etcd is not installed (Debian: etcd-server)'
    : !runs('kubectl', 'version', '--client')
      ? 'kubectl is not installed'
      : null

/** An API server of its own, over an etcd of its own. No controllers and no nodes run. */
export interface KubernetesServer {
  readonly url: string
  /** PEM of the authority that signed its certificate. */
  readonly ca: string
  /** Tokens: of a cluster administrator, and of somebody who may do nothing. */
  readonly tokens: { readonly admin: string; readonly nobody: string }
  /** PEM: what makes a client the user `certified`, who may do nothing until somebody lets it. */
  readonly certified: { readonly certPem: string; readonly keyPem: string }
  /** Calls its API as the administrator; rejects when the answer is no success. */
  call(method: string, path: string, body?: object, type?: string): Promise<unknown>
  /** Makes a node whose kubelet listens on a port, and a pod `name` on it that runs. */
  pod(name: string, kubeletPort: number): Promise<void>
  /** Requests as it took them to be, by the `Audit-ID` that they had; needs `audit`. */
  audited(): Promise<ReadonlyMap<string, Audited>>
  /** What its store holds: each key with the revision at which it last changed, but for what it writes by itself. */
  stored(): Promise<ReadonlyMap<string, string>>
  stop(): Promise<void>
}

/** Of an event of audit.k8s.io/v1: what the API server authorises. */
export interface Audited {
  readonly auditID: string
  readonly requestURI: string
  readonly verb: string
  /** Absent where the request is for no resource; what is empty is left out. */
  readonly objectRef?: {
    readonly apiGroup?: string
    readonly apiVersion?: string
    readonly namespace?: string
    readonly resource?: string
    readonly subresource?: string
    readonly name?: string
  }
}

/** Every request, as soon as it was read. */
const auditPolicy = JSON.stringify({
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['ResponseStarted', 'ResponseComplete', 'Panic'],
  rules: [{ level: 'Metadata' }],
})

const tokens = { admin: 'admin-token-for-tests-0001', nobody: 'nobody-token-for-tests-0002' } as const

/** Starts it; ready when this resolves. With `audit` it keeps what it takes requests to be. */
export async function startKubernetes({ audit = false } = {}): Promise<KubernetesServer> {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-kubernetes-'))
  const authority = makeAuthority('kubernetes')
  const { certPem, keyPem } = authority.issue('kube-apiserver', ['localhost', '127.0.0.1'])
  const file = async (name: string, content: string): Promise<string> => {
    await writeFile(join(folder, name), content, { mode: 0o600 })
    return join(folder, name)
  }
  const [etcdPort, peerPort, port] = [await freePort(), await freePort(), await freePort()]
  const etcdUrl = `http://127.0.0.1:${etcdPort}`
  const key = await file('server.key', keyPem)
  const auditLog = join(folder, 'audit.log')
  const auditing = audit
    ? [`--audit-policy-file=${await file('audit.json', auditPolicy)}`, `--audit-log-path=${auditLog}`]
    : []
  const publicKey = createPublicKey(keyPem).export({ type: 'spki', format: 'pem' }).toString()
  const processes = [
    spawn(
      'etcd',
      [
        '--data-dir',
        join(folder, 'etcd'),
        '--unsafe-no-fsync',
        '--log-level=error',
        '--listen-client-urls',
        etcdUrl,
        '--advertise-client-urls',
        etcdUrl,
        '--listen-peer-urls',
        `http://127.0.0.1:${peerPort}`,
      ],
      { stdio: 'ignore', env: { ...process.env, ETCD_UNSUPPORTED_ARCH: process.arch } },
    ),
    spawn(
      binary,
      [
        `--etcd-servers=${etcdUrl}`,
        '--bind-address=127.0.0.1',
        '--advertise-address=127.0.0.1',
        `--secure-port=${port}`,
        `--cert-dir=${join(folder, 'certs')}`,
        `--tls-cert-file=${await file('server.crt', certPem)}`,
        `--tls-private-key-file=${key}`,
        '--service-account-issuer=https://kubernetes.default',
        `--service-account-signing-key-file=${key}`,
        `--service-account-key-file=${await file('server.pub', publicKey)}`,
        `--token-auth-file=${await file('tokens.csv', `${tokens.admin},admin,1,system:masters\n${tokens.nobody},nobody,2\n`)}`,
        `--client-ca-file=${await file('clients.crt', authority.certPem)}`,
        '--authorization-mode=RBAC',
        '--disable-admission-plugins=ServiceAccount',
        '--kubelet-preferred-address-types=InternalIP',
        ...auditing,
      ],
      { stdio: process.env.KUBE_LOG === undefined ? 'ignore' : 'inherit' },
    ),
  ]
  const end = (): void => {
    for (const child of processes) child.kill('SIGKILL')
  }
  process.once('exit', end)
  const url = `https://127.0.0.1:${port}`
  const server: KubernetesServer = {
    url,
    ca: authority.certPem,
    tokens,
    certified: authority.issue('certified'),
    call: (method, path, body, type = 'application/json') =>
      call({ url: `${url}${path}`, ca: authority.certPem, method, body, type }),
    pod: (name, port) => runPod(server, name, port),
    async audited() {
      const lines = (await readFile(auditLog, 'utf8')).trimEnd().split('\n')
      return new Map(
        lines.map((line) => {
          const event: Audited = JSON.parse(line)
          return [event.auditID, event] as const
        }),
      )
    },
    stored: () => readStore(etcdUrl),
    async stop() {
      process.off('exit', end)
      await Promise.all(processes.map(stop))
      await rm(folder, { recursive: true, force: true })
    },
  }
  await ready(server, processes)
  return server
}

/** Keys that the API server writes as time passes. */
const ownWrites =
  /^\/registry\/(?:masterleases\/|leases\/kube-system\/|services\/endpoints\/default\/kubernetes$)/

async function readStore(etcdUrl: string): Promise<ReadonlyMap<string, string>> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  const answer = await fetch(`${etcdUrl}/v3/kv/range`, {
    method: 'POST',
    body: JSON.stringify({ key: base64('/registry/'), range_end: base64('/registry0'), keys_only: true }),
  })
  if (!answer.ok) throw new Error(`etcd: ${answer.status} ${await answer.text()}`)
  const { kvs } = (await answer.json()) as { kvs: { key: string; mod_revision: string }[] }
  return new Map(
    kvs
      .map(({ key, mod_revision }) => [Buffer.from(key, 'base64').toString(), mod_revision] as const)
      .filter(([key]) => !ownWrites.test(key)),
  )
}

async function runPod(server: KubernetesServer, name: string, kubeletPort: number): Promise<void> {
  const node = `node-of-${name}`
  const patch = 'application/merge-patch+json'
  await server.call('POST', '/api/v1/nodes', { metadata: { name: node } })
  await server.call(
    'PATCH',
    `/api/v1/nodes/${node}/status`,
    {
      status: {
        addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
        daemonEndpoints: { kubeletEndpoint: { Port: kubeletPort } },
      },
    },
    patch,
  )
  const pods = '/api/v1/namespaces/default/pods'
  await server.call('POST', pods, {
    metadata: { name, labels: { app: name } },
    spec: { nodeName: node, containers: [{ name: 'main', image: 'x', stdin: true, tty: false }] },
  })
  const running = {
    name: 'main',
    ready: true,
    restartCount: 0,
    image: 'x',
    imageID: 'x',
    state: { running: {} },
  }
  const status = {
    phase: 'Running',
    conditions: [{ type: 'Ready', status: 'True' }],
    containerStatuses: [running],
  }
  await server.call('PATCH', `${pods}/${name}/status`, { status }, patch)
}

async function ready(server: KubernetesServer, processes: readonly ChildProcess[]): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await server.call('GET', '/readyz')
      await server.call('GET', '/api/v1/namespaces/default')
      return
    } catch (error) {
      if (tries > 600 || processes.some(({ exitCode }) => exitCode !== null)) throw error
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}

function call(to: {
  url: string
  ca: string
  method: string
  body: object | undefined
  type: string
}): Promise<unknown> {
  const { url, ca, method, body, type } = to
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${tokens.admin}`, 'content-type': type }
    const sent = request(url, { ca, method, headers, agent: false }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString()
      })
      response.once('end', () => {
        const status = response.statusCode ?? 0
        if (status >= 300) return reject(new Error(`${method} ${url}: ${status} ${text}`))
        resolve(/json/.test(response.headers['content-type'] ?? '') ? JSON.parse(text) : text)
      })
    })
    sent.once('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
