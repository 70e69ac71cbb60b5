import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Kubelet, startKubelet } from '../fakes/kubelet.ts'
import { missingForKubernetes } from '../servers/kubernetes.ts'
import { freePort } from '../servers/port.ts'
import { told } from '../servers/programs.ts'
import type { Job, SeparateGateway } from './gateway-stack.ts'
import { type Running, knock, startKubectl } from './kubernetes-running.ts'
import {
  type KubernetesStack,
  anyone,
  startKubernetesStack,
  startSeparateKubernetesStack,
} from './kubernetes-stack.ts'
import { eventually } from './stack.ts'

const stages = (): string => `  all:
    ${anyone}
    grants:
      - { connection: prod, allow: [{ operations: ["*"] }] }
`

const every = ['attach', 'exec', 'logs', 'portForward']

/** One of each stream, all of which have said something. */
async function startStreams(job: Job, home: string): Promise<Record<string, Running>> {
  const port = await freePort()
  const exec = startKubectl(job, home, 'exec', '-i', 'web', '--', 'cat')
  const attach = startKubectl(job, home, 'attach', '-i', 'web')
  const logs = startKubectl(job, home, 'logs', '-f', 'web')
  const forward = startKubectl(job, home, 'port-forward', 'web', `${port}:80`)
  exec.child.stdin?.write('still here\n')
  attach.child.stdin?.write('small\n')
  await eventually(async () => expect(exec.out()).toContain('still here'))
  await eventually(async () => expect(attach.out()).toContain('SMALL'))
  await eventually(async () => expect(logs.out()).toContain('first line'))
  await eventually(async () => expect(forward.out()).toContain('Forwarding from 127.0.0.1'))
  expect(await knock(port)).toBe('port 80 says knock')
  return { exec, attach, logs, forward }
}

describe.skipIf(told(missingForKubernetes))('streams that are cut', () => {
  let kubelet: Kubelet
  beforeAll(async () => {
    kubelet = await startKubelet()
  })
  afterAll(() => kubelet?.stop())

  describe('by the clock', () => {
    let stack: KubernetesStack
    beforeAll(async () => {
      stack = await startKubernetesStack(stages)
      await stack.cluster.pod('web', kubelet.port)
    })
    afterAll(() => stack?.close())

    test('expiry admits nothing new, and a minute later ends what runs', { timeout: 180_000 }, async () => {
      const job = await stack.open('all', { ttl: '30s' })
      const streams = await startStreams(job, stack.folder)
      const { expiresAt } = job.held
      const expired = /hoop-access: identity idn_\w+ expired at /
      await new Promise((resolve) => setTimeout(resolve, expiresAt - Date.now() + 1300))
      const seen = kubelet.seen.length
      const late = startKubectl(job, stack.folder, 'exec', 'web', '--', 'id')
      expect(await late.code).toBe(1)
      expect(late.out()).toMatch(expired)
      expect(kubelet.seen).toHaveLength(seen)
      expect(kubelet.open().sort()).toEqual(every)
      expect(await saidAtTheEnd(streams)).toMatchObject({
        exec: expect.stringMatching(expired),
        attach: expect.stringMatching(expired),
        logs: expect.stringContaining('error: stream error'),
        forward: expect.stringContaining('error: lost connection to pod'),
      })
      expect(Date.now()).toBeGreaterThanOrEqual(expiresAt + 60_000)
      await eventually(async () => expect(kubelet.open()).toEqual([]))
      await eventually(async () => expect(await cut(stack, 'identity_expired')).toBeGreaterThanOrEqual(4))
      expect(await cutLanes(stack)).toBe(3)
    })
  })

  describe('with their gateway', () => {
    let stack: KubernetesStack<SeparateGateway>
    beforeEach(async () => {
      stack = await startSeparateKubernetesStack(stages)
      await stack.cluster.pod('web', kubelet.port)
    })
    afterEach(() => stack?.close())

    const verify = async (): Promise<void> => {
      const verified = await stack.operator('audit', 'verify')
      expect(verified.code, verified.out + verified.err).toBe(0)
    }

    test('SIGTERM gives them half a minute, then ends them with a word', { timeout: 180_000 }, async () => {
      const streams = await startStreams(await stack.open('all'), stack.folder)
      const stopped = stack.gateway.process.stop('SIGTERM')
      expect(await saidAtTheEnd(streams)).toMatchObject({
        exec: expect.stringContaining('error: hoop-access: the gateway is stopping'),
        attach: expect.stringContaining('error: hoop-access: the gateway is stopping'),
        logs: expect.stringContaining('error: stream error'),
        forward: expect.stringContaining('error: lost connection to pod'),
      })
      expect(await stopped).toBe(0)
      await eventually(async () => expect(kubelet.open()).toEqual([]))
      expect(await cut(stack, 'shutting_down')).toBeGreaterThanOrEqual(4)
      expect(await cutLanes(stack)).toBe(3)
      await verify()
    })

    test('kill -9 is no success to any, and recordings are sealed at the next start', {
      timeout: 180_000,
    }, async () => {
      const streams = await startStreams(await stack.open('all'), stack.folder)
      await stack.gateway.restart('SIGKILL')
      expect(await saidAtTheEnd(streams)).toMatchObject({
        exec: expect.stringContaining('error'),
        attach: expect.stringContaining('error'),
        logs: expect.stringContaining('error'),
        forward: expect.stringContaining('error: lost connection to pod'),
      })
      await eventually(async () => expect(kubelet.open()).toEqual([]))
      const opened = await stack.records('lane')
      for (const name of ['exec', 'attach', 'port-forward'])
        expect(opened).toContainEqual(expect.objectContaining({ what: 'opened', name }))
      const sessions = JSON.parse((await stack.operator('sessions', 'list', '--json')).out) as Row[]
      const ledger = await readFile(join(stack.data, 'recordings/ledger.jsonl'), 'utf8')
      for (const { id, ended_at } of sessions) {
        expect(ended_at).not.toBeNull()
        expect(ledger).toMatch(new RegExp(`"kind":"session-(?:recovered|end)","session":"${id}"`))
      }
      expect(ledger.split('"kind":"session-recovered"').length - 1).toBeGreaterThanOrEqual(4)
      await verify()
    })
  })
})

interface Row {
  readonly id: string
  readonly ended_at: string | null
}

/** What each kubectl printed, once it has ended with an exit code of 1. */
async function saidAtTheEnd(streams: Readonly<Record<string, Running>>): Promise<Record<string, string>> {
  const said: Record<string, string> = {}
  for (const [name, running] of Object.entries(streams)) {
    expect(await running.code, name).toBe(1)
    said[name] = running.out()
  }
  return said
}

/** How many sessions ended for a reason, by their recordings. */
async function cut(stack: Pick<KubernetesStack, 'records'>, why: string): Promise<number> {
  const ends = await stack.records('end')
  return ends.filter((end) => String(end.why).startsWith(why)).length
}

/** How many lanes are on record as closed before their program or answer said how it ended. */
async function cutLanes(stack: Pick<KubernetesStack, 'records'>): Promise<number> {
  const lanes = await stack.records('lane')
  return lanes.filter(({ what, exit }) => what === 'closed' && exit === null).length
}
