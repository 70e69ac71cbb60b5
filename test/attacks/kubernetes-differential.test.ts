import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'node:https'
import { json } from 'node:stream/consumers'
import { type ConnectionOptions, connect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readTarget } from '../../gateway/http-relay/target.ts'
import { readBody } from '../../gateway/protocols/kubernetes/bodies.ts'
import { readDryRun } from '../../gateway/protocols/kubernetes/dry-run.ts'
import { requestOf } from '../../gateway/protocols/kubernetes/operations.ts'
import { readRequestInfo } from '../../gateway/protocols/kubernetes/request-info.ts'
import { type KubernetesStack, anyone, startKubernetesStack } from '../flows/kubernetes-stack.ts'
import { Random, seed } from '../policy/random.ts'
import { type Audited, missingForKubernetes } from '../servers/kubernetes.ts'
import { told } from '../servers/programs.ts'
import { keptObjects } from './kubernetes-objects.ts'
import { oddDryRun } from './kubernetes-odd-dry-runs.ts'
import { type OddRequest, oddBody, oddRequest } from './kubernetes-odd-requests.ts'

/** How many are generated. */
const rounds = Number(process.env['HOOP_ODD_REQUESTS'] ?? 1000)
const AT_ONCE = 12

let stack: KubernetesStack
let through: ConnectionOptions
let direct: ConnectionOptions

const plain = (method: string, target: string, ...headers: string[]): OddRequest => ({
  method,
  target,
  headers,
})

/** What people thought of; the rest is generated. */
const known: readonly OddRequest[] = `
  /api/v1/pods?watch=true /api/v1/pods?watch=1 /api/v1/pods?watch=t /api/v1/pods?watch
  /api/v1/pods?watch=0&watch=1 /api/v1/pods?watch=1&watch=0 /api/v1/pods?watch=&watch=0
  /api/v1/pods?limit=x&fieldSelector=metadata.name=web /api/v1/pods?limit=x&watch=1 /api/v1/watch/pods
  /api/v1/watch/namespaces/shop/pods/web /api/v1/watch/namespaces/shop /api/v1/watch/namespaces
  /api/v1/watch /api/v1/watch/ /api/v1/proxy/nodes/x /api/v1/proxy /api/v1/namespaces/shop
  /api/v1/namespaces/shop/status /api/v1/namespaces/shop/finalize /api/v1/namespaces/shop/finalize/x
  /api/v1/namespaces/shop/pods/web/finalize /api/v1/namespaces/ /api /api/ /api/v1 /api/v1/ /apis
  /apis/ /apis/apps /apis/apps/ /apis/apps/v1/ /apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/web
  /apis/a/b/c /apis/a/b/c/d/e/f/g/h //api/v1/pods /api//v1/pods /api/v1//pods /api/v1/pods//
  /api/v1/namespaces//pods /api/v1/namespaces/shop%2fsecrets
  /api/v1/namespaces/shop/pods/..%2f..%2fsecrets /api/v1%2fpods /api/v1/%70ods /api/v1/pods/%77eb
  /%61pi/v1/pods /api/v1/pod%73?%77atch=1 /api/v1/pods/w%20b /api/v1/pods/../secrets
  /api/v1/pods/%2e%2e/secrets /api/v1/pods/%252e%252e/secrets /api/v1/./pods /api/v1/pods;x=/secrets
  /api/v1/secrets; /api/v1/pods%3b /api/v1/p%c0%afods /api/v1/pods%00
  /api/v1/namespaces/shop/services/https:web:443/proxy/a/b /api/v1/nodes/n/proxy/metrics/../x
  https://127.0.0.1/api/v1/secrets http://127.0.0.1:1/api/v1/secrets * /api/v1/pods#/secrets`
  .trim()
  .split(/\s+/)
  .flatMap((target) => ['GET', 'HEAD', 'DELETE'].map((method) => plain(method, target)))
  .concat([
    plain('POST', '/api/v1/namespaces/shop/pods'),
    plain('POST', '/api/v1/namespaces/shop/pods/web/eviction'),
    plain('PUT', '/api/v1/namespaces/shop/finalize'),
    plain('PATCH', '/api/v1/namespaces/shop/pods/web/ephemeralcontainers'),
    plain('PATCH', '/apis/apps/v1/namespaces/shop/deployments/web/scale'),
    plain('DELETE', '/api/v1/namespaces/shop/pods?fieldSelector=metadata.name=web'),
    plain('DELETE', '/api/v1/namespaces/shop/pods?labelSelector=a=b&dryRun=All&dryRun=None'),
    plain('POST', '/api/v1/pods', 'X-HTTP-Method-Override: GET'),
    plain('GET', '/api/v1/pods', 'X-HTTP-Method-Override: DELETE'),
    plain('GET', '/api/v1/pods', 'Expect: 100-continue'),
    plain(
      'GET',
      '/api/v1/pods',
      'Upgrade: h2c',
      'Connection: upgrade, http2-settings',
      'HTTP2-Settings: AAMAAABk',
    ),
    plain('OPTIONS', '/api/v1/pods'),
    plain('TRACE', '/api/v1/pods'),
    plain('CONNECT', '/api/v1/pods'),
    plain('CONNECT', '127.0.0.1:443'),
    plain('get', '/api/v1/pods'),
    plain('WATCH', '/api/v1/pods'),
  ])

/** The status that a request was answered with, 0 when there was none, and what the audit log calls it. */
function ask(
  to: ConnectionOptions,
  { method, target, headers }: OddRequest,
  id: string,
): Promise<{ status: number; audit: string }> {
  const auth = to === direct ? [`Authorization: Bearer ${stack.cluster.tokens.nobody}`] : []
  const at = to === direct || !target.startsWith('/') ? target : `/k8s/prod${target}`
  const lines = [`${method} ${at} HTTP/1.1`, 'Host: localhost', `Audit-ID: ${id}`, ...auth, ...headers]
  if (!headers.some((header) => header.startsWith('Connection'))) lines.push('Connection: close')
  return new Promise((resolve) => {
    let answer = ''
    const socket = connect(to, () => socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'))
    const over = (): void => {
      socket.destroy()
      resolve({
        status: Number(/^HTTP\/1\.1 (?!100)(\d{3}) /m.exec(answer)?.[1] ?? 0),
        // The gateway has names of its own, which the API server's answer repeats.
        audit: to === direct ? id : (/^audit-id: *(\S+)\r$/im.exec(answer)?.[1] ?? 'none'),
      })
    }
    socket.setTimeout(20_000, over)
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1')
      if (/^HTTP\/1\.1 (?!100)\d{3} [^]*?\r\n\r\n/m.test(answer)) over()
    })
    socket.on('error', over)
    socket.once('close', over)
  })
}

/** What the gateway decides on, in the words of an audit event. */
function read({ method, target }: OddRequest): string {
  const at = readTarget(`/k8s/prod${target}`, '/k8s')
  const info = readRequestInfo(method, at)
  if (info.kind === 'path') return `${info.verb} path ${decodeURIComponent(info.path)}`
  const { verb, group, version, namespace, resource, subresource, name } = info
  return [verb, group, version, namespace, resource, subresource, name].join('|')
}

function said({ verb, objectRef, requestURI }: Audited): string {
  if (objectRef === undefined) return `${verb} path ${decodeURIComponent(requestURI.replace(/\?.*/, ''))}`
  const {
    apiGroup = '',
    apiVersion = '',
    namespace = '',
    resource = '',
    subresource = '',
    name = '',
  } = objectRef
  return [verb, apiGroup, apiVersion, namespace, resource, subresource, name].join('|')
}

// The account may do nothing, so that nothing that gets through does any harm: what the API server takes it to be is
// in its audit log all the same.
describe.skipIf(told(missingForKubernetes))('the gateway and a real API server', () => {
  beforeAll(async () => {
    stack = await startKubernetesStack(
      ({ nobody }) => `  all:
    ${anyone}
    grants:
      - { connection: prod, as: { token: "${nobody}" }, allow: [{ operations: ["*"] }] }
`,
      { audit: true },
    )
    const { home } = await stack.open('all')
    const [ca = '', cert = '', key = ''] = await Promise.all(
      ['ca.pem', 'client.crt', 'client.key'].map((name) => readFile(join(home, name), 'utf8')),
    )
    through = { host: 'localhost', port: stack.port, servername: 'localhost', ca, cert, key }
    direct = { host: '127.0.0.1', port: Number(new URL(stack.cluster.url).port), ca: stack.cluster.ca }
  })
  afterAll(() => stack?.close())

  /** The name of the ConfigMap that the API server would make of a body; undefined when it would make none. */
  function made(type: string, body: Buffer): Promise<string | undefined> {
    const { url, ca, tokens } = stack.cluster
    const headers = {
      authorization: `Bearer ${tokens.admin}`,
      'content-type': type,
      accept: 'application/json',
    }
    return new Promise((resolve, reject) => {
      const sent = request(
        `${url}/api/v1/namespaces/default/configmaps?dryRun=All`,
        { method: 'POST', ca, headers, agent: false },
        (response) => {
          const { statusCode = 0 } = response
          json(response).then((answer) => {
            const { name } = (answer as { metadata?: { name?: string } }).metadata ?? {}
            resolve(statusCode < 300 ? name : undefined)
          }, reject)
        },
      )
      sent.once('error', reject)
      sent.end(body)
    })
  }

  /** Every resource of the cluster that can be updated, in each of its versions. */
  async function updated(): Promise<{ base: string; resource: string; kind: string; namespaced: boolean }[]> {
    const groups = (await stack.cluster.call('GET', '/apis')) as {
      groups: { versions: { groupVersion: string }[] }[]
    }
    const bases = groups.groups.flatMap(({ versions }) => versions.map((one) => `/apis/${one.groupVersion}`))
    const lists = await Promise.all(
      ['/api/v1', ...bases].map(async (base) => {
        const { resources } = (await stack.cluster.call('GET', base)) as {
          resources: { name: string; kind: string; namespaced: boolean; verbs: string[] }[]
        }
        return resources
          .filter(({ name, verbs }) => verbs.includes('update') && !name.includes('/'))
          .map(({ name, kind, namespaced }) => ({ base, resource: name, kind, namespaced }))
      }),
    )
    return lists.flat()
  }

  async function compare(requests: readonly OddRequest[], prefix: string): Promise<Record<string, number>> {
    const answers = new Map<number, { status: number; audit: string }>()
    const waiting = [...requests.entries()]
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          const [index, request] = next
          answers.set(index, await ask(through, request, `${prefix}-g-${index}`))
          await ask(direct, request, `${prefix}-d-${index}`)
        }
      }),
    )
    const audited = await stack.cluster.audited()
    const counts = {
      agreed: 0,
      'decided for all of a kind': 0,
      'refused by the gateway alone': 0,
      'refused by both': 0,
    }
    const differ: string[] = []
    for (const [index, request] of requests.entries()) {
      const { status = 0, audit = 'none' } = answers.get(index) ?? {}
      const [got, alone] = [audited.get(audit), audited.get(`${prefix}-d-${index}`)]
      if (audited.has(`${prefix}-g-${index}`)) differ.push(`request ${index} chose its own name`)
      const shown = `${request.method} ${JSON.stringify(request.target)} ${request.headers.join(', ')}`
      if (got === undefined) {
        counts[alone === undefined ? 'refused by both' : 'refused by the gateway alone']++
        continue
      }
      let decided = 'nothing'
      try {
        decided = read(request)
      } catch (error) {
        decided = String(error)
      }
      if (said(got) === decided && alone !== undefined && said(got) === said(alone)) counts.agreed++
      else if (alone === undefined)
        differ.push(
          `${shown}: the API server refuses it, and takes it from the gateway for ${said(got)} (${status})`,
        )
      else if (said(got) !== said(alone)) differ.push(`${shown}: ${said(alone)} became ${said(got)}`)
      // Of a selector that is not plain the gateway takes no name: then it has to be allowed for all of them.
      else if (said(got).replace(/[^|]+$/, '') === decided) counts['decided for all of a kind']++
      else if (said(got) !== decided) differ.push(`${shown}: decided on ${decided}, taken for ${said(got)}`)
    }
    expect(differ).toEqual([])
    return counts
  }

  test('agree on what people thought of', async () => {
    const counts = await compare(known, 'known')
    expect(counts['agreed']).toBeGreaterThan(40)
  }, 300_000)

  test('agree on what an update makes that is not there yet', async () => {
    const kept: string[] = []
    for (const { base, resource, kind, namespaced } of await updated()) {
      const path = `${base}/${namespaced ? 'namespaces/default/' : ''}${resource}/odd`
      const object = { apiVersion: base.replace(/^\/apis?\//, ''), kind, metadata: { name: 'odd' } }
      const told = await stack.cluster.call('PUT', path, object).then(() => '200', String)
      const target = readTarget(`/k8s/prod${path}`, '/k8s')
      const { meaning } = requestOf('PUT', target, readRequestInfo('PUT', target), { type: '' })
      const creates = meaning.operations.some(({ actions }) => actions.includes('create'))
      if (!/: 404 /.test(told) && !creates) kept.push(`${path}: ${told}`)
    }
    expect(kept).toEqual([])
  }, 300_000)

  /** Sends a change as the administrator; the status. */
  async function change(method: string, path: string, type: string, body: Buffer): Promise<number> {
    const { url, ca, tokens } = stack.cluster
    const headers = {
      authorization: `Bearer ${tokens.admin}`,
      'content-type': type,
      'content-length': body.byteLength,
    }
    return new Promise((resolve, reject) => {
      const sent = request(`${url}${path}`, { method, ca, headers, agent: false }, (response) => {
        response.resume().once('end', () => resolve(response.statusCode ?? 0))
      })
      sent.once('error', reject)
      sent.end(body)
    })
  }

  function isDryRun(method: string, path: string, type: string, body: Buffer): boolean {
    const target = readTarget(`/k8s/prod${path}`, '/k8s')
    const info = readRequestInfo(method, target)
    return readDryRun(info, target, { body, type: type.toLowerCase(), vouched: [] }) === true
  }

  test(`nothing is stored by what is taken for a dry run, HOOP_SEED=${seed}`, async () => {
    const random = new Random(seed)
    const all = '/api/v1/namespaces/default/configmaps'
    const counts = { 'dry runs': 0, changes: 0, 'not taken for one': 0, refused: 0 }
    const differ: string[] = []
    const held = async (): Promise<string> =>
      JSON.stringify(
        [...(await stack.cluster.stored())].filter(([key]) => key.includes('/configmaps/default/')),
      )
    for (let round = 0; round < rounds / 2; round++) {
      await change(
        'POST',
        all,
        'application/json',
        Buffer.from('{"metadata":{"name":"odd"},"data":{"a":"b"}}'),
      )
      const { method, query, type, body } = oddDryRun(random)
      const path =
        (method === 'POST' || (method === 'DELETE' && random.chance(4)) ? all : `${all}/odd`) + query
      const before = await held()
      const status = await change(method, path, type, body)
      const changed = (await held()) !== before
      if (changed) {
        await change('DELETE', `${all}/made`, 'application/json', Buffer.alloc(0))
        await change('DELETE', `${all}/odd`, 'application/json', Buffer.alloc(0))
      }
      let decided = false
      try {
        decided = isDryRun(method, path, type, body)
      } catch {
        counts.refused++
        continue
      }
      if (decided && changed)
        differ.push(`${method} ${path} ${type} ${JSON.stringify(body.toString('latin1'))}`)
      else if (changed) counts.changes++
      else if (status >= 300) counts.refused++
      else if (decided) counts['dry runs']++
      else counts['not taken for one']++
    }
    console.log(`seed ${seed}: ${JSON.stringify(counts)}`)
    expect(differ).toEqual([])
    expect(counts['dry runs']).toBeGreaterThan(rounds / 50)
    expect(counts.changes).toBeGreaterThan(rounds / 50)
  }, 600_000)

  /** Resolves once the API server has made of definitions what it makes of them by itself. */
  async function settled(): Promise<void> {
    for (let quiet = 0, was = ''; quiet < 4; ) {
      await new Promise((resolve) => setTimeout(resolve, 500))
      const is = JSON.stringify([...(await stack.cluster.stored())])
      quiet = is === was ? quiet + 1 : 0
      was = is
    }
  }

  test('every kind of Kubernetes’ own keeps to a dry run', async () => {
    const json = 'application/json'
    const differ: string[] = []
    let tried = 0
    for (const { path, object } of await keptObjects()) {
      const one = `${path}/${object.metadata.name}`
      const body = (more: object = {}): Buffer =>
        Buffer.from(JSON.stringify({ ...object, metadata: { ...object.metadata, ...more } }))
      const options = Buffer.from('{"dryRun":["All"]}')
      const attempt = async (method: string, at: string, type: string, sent: Buffer): Promise<void> => {
        if (!isDryRun(method, at, type, sent)) differ.push(`${method} ${at} is not taken for one`)
        const before = await stack.cluster.stored()
        const status = await change(method, at, type, sent)
        const after = await stack.cluster.stored()
        const keys = [...after].filter(([key, revision]) => before.get(key) !== revision).map(([key]) => key)
        const gone = [...before.keys()].filter((key) => !after.has(key))
        if (keys.length + gone.length > 0) differ.push(`${method} ${at}: ${[...keys, ...gone].join(' ')}`)
        // Some kinds cannot be deleted as a collection in every version.
        if (status < 300) tried++
        else if (status !== 405) differ.push(`${method} ${at}: ${status}`)
      }
      await attempt('POST', `${path}?dryRun=All`, json, body())
      const made = await change('POST', path, json, body())
      if (made >= 300) differ.push(`POST ${path}: ${made}`)
      if (/^\/apis\/api[er]/.test(path)) await settled()
      const stored = (await stack.cluster.call('GET', one)) as { metadata: object }
      const labelled = { ...stored, metadata: { ...stored.metadata, labels: { odd: 'true' } } }
      await attempt('PUT', `${one}?dryRun=All`, json, Buffer.from(JSON.stringify(labelled)))
      await attempt(
        'PATCH',
        `${one}?dryRun=All`,
        'application/merge-patch+json',
        Buffer.from('{"metadata":{"labels":{"odd":"true"}}}'),
      )
      // Debian's build of 1.20 falls over it.
      if (!path.endsWith('/apiservices'))
        await attempt(
          'PATCH',
          `${one}?dryRun=All&fieldManager=odd&force=true`,
          'application/apply-patch+yaml',
          body({ labels: { odd: 'x' } }),
        )
      await attempt('DELETE', one, json, options)
      await attempt('DELETE', `${one}?dryRun=All`, json, Buffer.alloc(0))
      if (!path.endsWith('namespaces')) {
        await attempt('DELETE', path, json, options)
        await attempt('DELETE', `${path}?dryRun=All`, json, Buffer.alloc(0))
      }
    }
    expect(differ).toEqual([])
    expect(tried).toBeGreaterThan(200)
  }, 600_000)

  test('a token is issued whatever it says of a dry run, so that it is not taken for one', async () => {
    const path = '/api/v1/namespaces/default/serviceaccounts/odd-token'
    await stack.cluster.call('POST', '/api/v1/namespaces/default/serviceaccounts', {
      metadata: { name: 'odd-token' },
    })
    const asked = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} }
    const issued = await stack.cluster.call('POST', `${path}/token?dryRun=All`, asked)
    expect(issued).toMatchObject({ status: { token: expect.stringMatching(/^ey/) } })
    expect(
      isDryRun('POST', `${path}/token?dryRun=All`, 'application/json', Buffer.from(JSON.stringify(asked))),
    ).toBe(false)
  })

  test(`agree on the name that a body says, or the gateway takes none, HOOP_SEED=${seed}`, async () => {
    const random = new Random(seed)
    const differ: string[] = []
    const counts = { agreed: 0, 'none taken': 0, refused: 0 }
    for (let round = 0; round < rounds / 4; round++) {
      const { type, body } = oddBody(random)
      const created = await made(type, body)
      let decided: string | undefined
      try {
        decided = readBody(body, type).name
      } catch {
        counts.refused++
        continue
      }
      if (created === undefined) counts.refused++
      else if (decided === undefined) counts['none taken']++
      else if (decided === created) counts.agreed++
      else differ.push(`${type} ${JSON.stringify(body.toString('latin1'))}: ${decided}, made ${created}`)
    }
    console.log(`seed ${seed}: ${JSON.stringify(counts)}`)
    expect(differ).toEqual([])
    expect(counts.agreed).toBeGreaterThan(10)
  }, 600_000)

  test(`agree on requests at random, or the gateway refuses them, HOOP_SEED=${seed}`, async () => {
    const random = new Random(seed)
    const counts = await compare(
      Array.from({ length: rounds }, () => oddRequest(random)),
      'odd',
    )
    console.log(`seed ${seed}: ${JSON.stringify(counts)}`)
    expect(counts['agreed']).toBeGreaterThan(rounds / 20)
  }, 600_000)
})
