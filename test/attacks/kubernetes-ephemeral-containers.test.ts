import { spawnSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run, type Ran } from '../flows/gateway-stack.ts'
import type { HttpStack } from '../flows/http-stack.ts'
import { told } from '../servers/programs.ts'
import { startAttackedCluster } from './kubernetes-stack.ts'

// A container that is put into a pod that runs sees its processes and what is mounted there, as exec does. The API server of
// these tests has no ephemeral containers yet (1.20, behind a gate): a stand-in answers as newer ones do.

const missing = spawnSync('kubectl', ['version', '--client']).status === 0 ? null : 'kubectl is not installed'

const pod = {
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: { name: 'web', namespace: 'default', uid: 'b0a1', resourceVersion: '7' },
  spec: { containers: [{ name: 'main', image: 'shop:1' }] },
}
const answers: Record<string, object> = {
  'GET /cluster/api': { kind: 'APIVersions', versions: ['v1'] },
  'GET /cluster/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [] },
  'GET /cluster/api/v1': {
    kind: 'APIResourceList',
    groupVersion: 'v1',
    resources: [
      { name: 'pods', singularName: 'pod', namespaced: true, kind: 'Pod', verbs: ['get', 'list', 'patch'] },
      {
        name: 'pods/ephemeralcontainers',
        singularName: '',
        namespaced: true,
        kind: 'Pod',
        verbs: ['get', 'patch', 'update'],
      },
    ],
  },
}
const place = '/api/v1/namespaces/default/pods/web'

describe.skipIf(told(missing))('ephemeral containers', () => {
  let stack: HttpStack
  beforeAll(async () => {
    stack = await startAttackedCluster({
      grants: `      - { connection: cluster, allow: [{ operations: ["*"], resources: [pods] }] }
  named:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: cluster
        allow: [{ operations: [get], resources: [pods] }, { operations: [patch], resources: [pods/ephemeralcontainers], names: [web] }]
  asked:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: cluster
        allow: [{ operations: ["*"] }]
        approve: [{ operations: [patch, update], resources: [pods/ephemeralcontainers], by: sre }]
  denied:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: cluster
        allow: [{ operations: ["*"] }]
        deny: [{ operations: ["*"], resources: [pods/ephemeralcontainers] }]
`,
      upstream: (request, response) => {
        const path = (request.url ?? '').replace(/\?.*/, '')
        const found =
          answers[`${request.method} ${path}`] ?? (path.startsWith(`/cluster${place}`) ? pod : undefined)
        request.resume().once('end', () => {
          response.writeHead(found === undefined ? 404 : 200, { 'content-type': 'application/json' })
          response.end(
            JSON.stringify(found ?? { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: 404 }),
          )
        })
      },
    })
  })
  afterAll(() => stack?.close())

  const kubectl = async (stage: string, ...args: string[]): Promise<Ran> => {
    const { env, home } = await stack.open(stage, { connections: 'cluster' })
    return run('kubectl', args, { KUBECONFIG: env.KUBECONFIG ?? '', KUBECACHEDIR: `${home}/kube-cache` })
  }
  const debug = ['debug', 'web', '--image=busybox:1', '--container=probe', '--', 'cat', '/proc/1/environ']
  const changes = (): string[] =>
    stack.seen.map(({ line }) => line.replace(/\?.*/, '')).filter((line) => !line.startsWith('GET '))

  test('a rule for pods lets nobody put containers into those that run', async () => {
    stack.seen.length = 0
    const { code, err } = await kubectl('test', ...debug)
    expect(code).toBe(1)
    expect(err).toContain('no rule of stage test allows patch on pods/ephemeralcontainers')
    const job = await stack.open('test')
    const headers = { 'content-type': 'application/strategic-merge-patch+json' }
    for (const [method, body] of [
      ['PUT', JSON.stringify(pod)],
      ['PATCH', JSON.stringify(pod)],
      ['POST', JSON.stringify(pod)],
      ['DELETE', ''],
      ['GET', ''],
    ] as const) {
      const asked = { body, ...(body !== '' && { headers }) }
      const { status } = await job.request(method, `/k8s/cluster${place}/ephemeralcontainers`, asked)
      expect(status, method).toBe(403)
    }
    expect(changes()).toEqual([])
    expect(await stack.recorded('"effect":"deny"')).toHaveLength(6)
  })

  test('a rule that denies them denies them, where everything else is allowed', async () => {
    stack.seen.length = 0
    const { code, err } = await kubectl('denied', ...debug)
    expect(code).toBe(1)
    expect(err).toContain('rule denied/cluster deny[0] forbids patch on pods/ephemeralcontainers')
    expect(changes()).toEqual([])
  })

  test('a rule that names them allows `kubectl debug`, whose container is on record', async () => {
    stack.seen.length = 0
    const ran = await kubectl('named', ...debug)
    expect(ran, ran.err).toMatchObject({ code: 0 })
    expect(changes()).toEqual([`PATCH /cluster${place}/ephemeralcontainers`])
    const sessions = JSON.parse((await stack.operator('sessions', 'list', '--json')).out) as { id: string }[]
    const replays = await Promise.all(sessions.map(({ id }) => stack.operator('sessions', 'replay', id)))
    const [replay = ''] = replays.map(({ out }) => out).filter((out) => out.includes('busybox:1'))
    expect(replay).toContain(`PATCH ${place}/ephemeralcontainers`)
    expect(replay).toContain('/proc/1/environ')
  })

  test('people are asked, and see the container', async () => {
    stack.seen.length = 0
    const running = kubectl('asked', ...debug)
    const { id, statement } = await stack.pending()
    expect(statement).toContain('"command":["cat","/proc/1/environ"],"image":"busybox:1"')
    expect(changes()).toEqual([])
    await stack.operator('approvals', 'deny', id, '--reason', 'not today')
    const { code, err } = await running
    expect(code).toBe(1)
    expect(err).toContain('not today')
    expect(changes()).toEqual([])
  })
})
