import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type KubernetesServer, missingForKubernetes, startKubernetes } from '../servers/kubernetes.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'
import { lacks, told } from '../servers/programs.ts'
import { type Sshd, startSshd } from '../servers/sshd.ts'
import type { Way } from './gate-ways.ts'
import { type GatesStack, groups, startGatesStack } from './gates-stack.ts'
import { type Job, type Ran, run } from './gateway-stack.ts'
import type { ApprovalView } from '../../gateway/core/contract.ts'

/** A client of a job, whose one act for a group is held until that group has agreed. */
interface Client {
  readonly name: string
  readonly act: (job: Job, group: string) => Promise<Ran>
  /** True once the act has reached its target. */
  readonly done: (group: string) => Promise<boolean>
}

const table = (group: string): string => group.replaceAll('-', '_')
let stack: GatesStack
let postgres: PostgresServer
let sshd: Sshd
let cluster: KubernetesServer | null = null
let upstream: Server
const deleted: string[] = []

const count = async (group: string): Promise<number> => {
  const rows = await postgres.query(`SELECT count(*)::int AS n FROM ${table(group)}`, {
    database: 'shop',
  })
  return Number(rows[0]?.['n'])
}
const psql: Client = {
  name: 'psql',
  act: (job, group) => run('psql', ['-XAtq', '-c', `DELETE FROM ${table(group)} WHERE id = 1`], job.env),
  done: async (group) => (await count(group)) === 1,
}
const ssh: Client = {
  name: 'ssh',
  act: (job, group) =>
    run('ssh', ['-F', join(job.home, 'ssh_config'), 'web-1', `touch ${join(stack.folder, group)}`], {}),
  done: (group) => Promise.resolve(existsSync(join(stack.folder, group))),
}
const kubectl: Client = {
  name: 'kubectl',
  act: (job, group) =>
    run('kubectl', ['delete', 'configmap', group], {
      KUBECONFIG: job.env.KUBECONFIG ?? '',
      KUBECACHEDIR: join(job.home, 'kube-cache'),
    }),
  done: async (group) => {
    const list = (await cluster?.call('GET', '/api/v1/namespaces/default/configmaps')) as {
      items: { metadata: { name: string } }[]
    }
    return !list.items.some(({ metadata }) => metadata.name === group)
  },
}
const curl: Client = {
  name: 'curl',
  act: (job, group) =>
    run(
      'curl',
      `-sS -o /dev/null -w %{http_code} -X DELETE --max-time 120 --cacert ${job.home}/ca.pem --cert ${job.home}/client.crt --key ${job.home}/client.key ${stack.url}/http/api/${group}`.split(
        ' ',
      ),
      {},
    ),
  done: (group) => Promise.resolve(deleted.includes(`/${group}`)),
}

async function targets(folder: string): Promise<{ connections: string; grants: string }> {
  const ca = join(folder, 'db-ca.pem')
  await writeFile(ca, postgres.caPem)
  if (cluster !== null) await writeFile(join(folder, 'kube-ca.pem'), cluster.ca)
  const rules = (of: (group: string) => string): string =>
    groups.map((group) => `          - { ${of(group)}, by: ${group} }`).join('\n')
  return {
    connections: `  orders-db: { type: postgres, host: ${postgres.host}, port: ${postgres.port}, database: shop, user: postgres, password: "${postgres.superuser.password}", ca: { file: ${ca} } }
  web-1: { type: ssh, host: 127.0.0.1, port: ${sshd.port}, user: ${sshd.user}, private_key: { file: ${sshd.privateKey} }, host_key: "${sshd.hostKey}" }
  prod: { type: kubernetes, url: "${cluster?.url ?? 'https://127.0.0.1:1'}", token: "${cluster?.tokens.admin ?? 'none'}"${cluster === null ? '' : ', ca: { file: kube-ca.pem }'} }
  api: { type: http, url: "http://127.0.0.1:${(upstream.address() as AddressInfo).port}" }`,
    grants: `      - connection: orders-db
        allow: [{ operations: [read] }]
        approve:
${rules((group) => `operations: [delete], resources: ["public.${table(group)}"]`)}
      - connection: web-1
        approve:
${rules((group) => `operations: [exec], commands: ["touch ${join(folder, group)}"]`)}
      - connection: prod
        allow: [{ operations: [read], resources: [configmaps] }]
        approve:
${rules((group) => `operations: [delete], resources: [configmaps], names: [${group}]`)}
      - connection: api
        approve:
${rules((group) => `operations: [DELETE], resources: ["/${group}"]`)}`,
  }
}

describe.skipIf(lacks('curl', 'psql', 'ssh', 'sshd'))('what waits for people', () => {
  beforeAll(async () => {
    ;[postgres, sshd, cluster] = await Promise.all([
      startPostgres({ tls: true }),
      startSshd(),
      missingForKubernetes === null ? startKubernetes() : null,
    ])
    await postgres.query('CREATE DATABASE shop')
    const made = groups.map(
      (group) => `CREATE TABLE ${table(group)} AS SELECT id FROM generate_series(1, 2) id`,
    )
    await postgres.query(made.join(';'), { database: 'shop' })
    for (const name of groups) {
      const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } }
      await cluster?.call('POST', '/api/v1/namespaces/default/configmaps', map)
    }
    upstream = createServer((request, response) => {
      deleted.push(request.url ?? '')
      response.end('{}')
    })
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
    stack = await startGatesStack({
      targets,
      stop: async () => {
        upstream.closeAllConnections()
        upstream.close()
        await Promise.all([sshd.stop(), postgres.stop(), cluster?.stop()])
      },
    })
    ways = stack.ways
  }, 240_000)
  afterAll(async () => {
    await stack?.close()
    expect(stack?.violations()).toEqual([])
  })
  let ways: readonly Way[] = []
  const wayOf = (group: string): Way => {
    const found = ways.find((one) => one.group === group)
    if (found === undefined) throw new Error(`there is no way by ${group}`)
    return found
  }

  describe.each(groups.filter((group) => group !== 'everywhere'))('by %s', (group) => {
    test.each(told(missingForKubernetes) ? [psql, ssh] : [psql, ssh, kubectl])(
      '$name is held, and goes on once people have agreed there',
      async ({ act, done }) => {
        const way = wayOf(group)
        const acting = act(await stack.job(way.platform), group)
        const approval = await stack.waiting(group)
        expect(await done(group)).toBe(false)
        await way.approve(approval)
        const { code, err } = await acting
        expect(code, err).toBe(0)
        expect(await done(group)).toBe(true)
        expect(await stack.view(approval.id)).toMatchObject({
          state: 'used',
          answers: [{ person: group === 'command-line' ? 'operator' : 'alice', gate: way.gate }],
        })
      },
      60_000,
    )
  })

  test('the gates of a GitHub job race over one psql, and each is answered twice: one decision, and one act', async () => {
    const job = await stack.job('github')
    const acting = psql.act(job, 'everywhere')
    const approval = await stack.waiting('everywhere')
    const racing = ways.filter(
      ({ platform, group }) => platform === 'github' || group === 'gitlab-deployment',
    )
    expect(racing.length).toBe(8)
    await Promise.all(racing.flatMap((way) => [way.approve(approval), way.approve(approval)]))
    const { code, err } = await acting
    expect(code, err).toBe(0)
    expect(await count('everywhere')).toBe(1)
    const { state, answers } = await stack.view(approval.id)
    expect({ state, people: answers.length }).toEqual({ state: 'used', people: 1 })
    expect(
      (await stack.recorded('"answered"')).filter((record) => JSON.stringify(record).includes(approval.id)),
    ).toHaveLength(1)
    // The same again asks anew: what has raced is used up.
    const again = psql.act(job, 'everywhere')
    const second = await stack.waiting('everywhere')
    expect(second.id).not.toBe(approval.id)
    await stack.operator('approvals', 'deny', second.id, '--reason', 'once is enough')
    expect((await again).err).toContain('once is enough')
    // Who answers now is told that it is over, and how.
    for (const way of racing) await way.approve(second)
    expect(await wayOf('webhook').approve(second)).toMatchObject({ status: 409 })
    expect(await wayOf('console').approve(second)).toMatchObject({
      body: expect.stringContaining('Your answer came too late: it was denied before'),
    })
    expect(await stack.view(second.id)).toMatchObject({ state: 'denied', answers: [{ person: 'operator' }] })
  }, 120_000)

  test('the gateway is killed meanwhile: people answer where they were asked, and the same request passes once', async () => {
    const outside = ways.filter((way) => way.outside)
    const held = await Promise.all(
      outside.map(async (way) => {
        const job = await stack.job(way.platform)
        const first = curl.act(job, way.group)
        return { way, job, first, approval: await stack.waiting(way.group) }
      }),
    )
    // Its connection dies with the gateway: this one is taken back.
    const lost = psql.act(await stack.job('github'), 'slack')
    const taken = await stack.waiting('slack', 'orders-db')
    await stack.gateway.restart('SIGKILL')
    expect((await lost).code).not.toBe(0)
    for (const { way, job, first, approval } of held) {
      expect((await first).code, way.group).not.toBe(0)
      expect((await stack.view(approval.id)).state, way.group).toBe('pending')
      await agree(way, approval)
      expect(await curl.done(way.group), way.group).toBe(false)
      expect((await stack.view(approval.id)).state, way.group).toBe('approved')
      expect((await curl.act(job, way.group)).out, way.group).toBe('200')
      expect(
        deleted.filter((path) => path === `/${way.group}`),
        way.group,
      ).toHaveLength(1)
      expect(await stack.view(approval.id)).toMatchObject({
        state: 'used',
        answers: [{ person: 'alice', gate: way.gate }],
      })
    }
    // The messages of before say how it ended.
    const textOf = (id: string): string | undefined =>
      stack.slack.messages.find(({ blocks }) => JSON.stringify(blocks).includes(id))?.text
    const bySlack = held.find(({ way }) => way.group === 'slack')
    await expect.poll(() => textOf(bySlack?.approval.id ?? '')).toContain('Approved by alice')
    await expect.poll(() => textOf(taken.id)).toContain('took it back')
    expect((await stack.view(taken.id)).state).toBe('withdrawn')
  }, 240_000)

  /** Has people agree; again where the gateway, which has just started, was not there yet. */
  async function agree(way: Way, approval: ApprovalView): Promise<void> {
    for (let tries = 0; tries < 5; tries++) {
      await way.approve(approval)
      for (let looks = 0; looks < 20; looks++) {
        if ((await stack.view(approval.id)).state !== 'pending') return
        await new Promise((resolve) => setTimeout(resolve, 250))
      }
    }
  }
})
