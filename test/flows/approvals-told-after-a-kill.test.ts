import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { type GatesStack, startGatesStack } from './gates-stack.ts'
import { type Ran, run } from './gateway-stack.ts'
import { lacks } from '../servers/programs.ts'

// What people have to hear of is kept until they have heard it: a gateway that is killed in between tells it after its start.

let stack: GatesStack
const reached: string[] = []
const upstream = createServer((request, response) => {
  reached.push(request.url ?? '')
  response.end('{}')
})

describe.skipIf(lacks('curl'))('the gateway is killed before anybody could be told', () => {
  beforeAll(async () => {
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
    const everywhere =
      '[{ github-environment: { environment: production-db, repository: acme/shop, workflow: hoop-approval.yml } }, { github-pull-request: {} }, { gitlab-deployment: { project: acme/approvals, environment: production-db } }, { gitlab-merge-request: {} }, { slack: { channel: "#dba" } }, { email: {} }, { webhook: { to: tickets } }, { console: {} }]'
    stack = await startGatesStack({
      targets: () =>
        Promise.resolve({
          connections: `  api: { type: http, url: "http://127.0.0.1:${(upstream.address() as AddressInfo).port}" }`,
          grants: `      - connection: api
        approve: [{ operations: [DELETE], by: guarded }]`,
        }),
      approvers: `  guarded: { members: [alice, operator], timeout: 10m, gates: ${everywhere}, break_glass: oncall }
  oncall: { members: [operator], gates: [{ console: {} }] }`,
      stop: async () => {
        upstream.closeAllConnections()
        await new Promise((resolve) => upstream.close(resolve))
      },
    })
  }, 120_000)
  afterAll(() => stack?.close())

  /** A request that is held, for the job of a platform. */
  async function hold(
    path: string,
    platform: 'github' | 'gitlab',
  ): Promise<{ approval: ApprovalView; ran: Promise<Ran> }> {
    const { home } = await stack.job(platform)
    const ran = run(
      'curl',
      `-sS -o /dev/null -w %{http_code} -X DELETE --max-time 120 --cacert ${home}/ca.pem --cert ${home}/client.crt --key ${home}/client.key ${stack.url}/http/api${path}`.split(
        ' ',
      ),
      {},
    )
    return { approval: await stack.waiting('guarded'), ran }
  }
  const down = { status: 503 }
  /** From now on nobody can be told anything; given back, they can. */
  function silence(): () => void {
    stack.github.interfere(() => down)
    stack.gitlab.fail(503)
    stack.slack.next.push(...Array.from({ length: 1000 }, () => down))
    stack.smtp.refuse = 'alice@acme.example'
    stack.tickets.status = 503
    stack.tickets.ids.length = 0
    return () => {
      stack.github.interfere(null)
      stack.gitlab.fail(null)
      stack.slack.next.length = 0
      stack.smtp.refuse = null
      stack.smtp.refused.length = 0
      stack.tickets.status = 204
    }
  }
  /** Lines of the ledger that hold this text. */
  async function noted(text: string): Promise<string[]> {
    const ledger = await readFile(join(stack.data, 'recordings', 'ledger.jsonl'), 'utf8')
    return ledger.split('\n').filter((line) => line.includes(text))
  }
  const checksOf = (external: string): number =>
    [...stack.github.repository.checks.values()].filter((check) =>
      String(check['external_id']).startsWith(external),
    ).length

  test('broken glass is told everywhere after the start, once, and under the same name', async () => {
    const { approval, ran } = await hold('/glass', 'github')
    const { id } = approval
    const speak = silence()
    await stack.operator('approvals', 'approve', id, '--break-glass', '--reason', 'prod is down')
    expect((await ran).out).toBe('200')
    // The gateway has tried, and nobody has heard of it.
    await expect
      .poll(() => stack.tickets.ids, { timeout: 10_000 })
      .toContainEqual(expect.stringContaining(`${id}.glass.operator.`))
    const heard = (): object => ({
      slack: stack.slack.messages.filter(({ metadata }) => JSON.stringify(metadata)?.includes(id)).length,
      email: stack.smtp.letters.filter(
        ({ source, to }) => to.includes('alice@acme.example') && source.includes(`${id}.glass.operator.`),
      ).length,
      webhook: stack.tickets.taken.filter((body) => body.includes('glass_broken') && body.includes(id))
        .length,
      check: checksOf(`${id}.glass.operator.`),
    })
    expect(heard()).toEqual({ slack: 0, email: 0, webhook: 0, check: 0 })
    const states = async () =>
      new Set((await stack.view(id)).alarms.map(({ gate, state }) => `${gate} ${state}`))
    await expect.poll(states, { timeout: 30_000 }).toContain('webhook failed')
    await stack.gateway.restart('SIGKILL', speak)

    await expect.poll(heard, { timeout: 60_000 }).toEqual({ slack: 1, email: 1, webhook: 1, check: 1 })
    // However often it was tried, on both sides of the kill.
    expect(new Set(stack.tickets.ids.filter((one) => one.includes('glass'))).size).toBe(1)
    const every = ['email', 'github-pull-request', 'gitlab-merge-request', 'ledger', 'slack', 'webhook']
    await expect.poll(states, { timeout: 30_000 }).toEqual(new Set(every.map((gate) => `${gate} told`)))
    expect(await noted('glass-broken')).toEqual([expect.stringContaining(id)])
    // Told is told: one more start says nothing again.
    await stack.gateway.restart('SIGKILL')
    await new Promise((resolve) => setTimeout(resolve, 3000))
    expect(heard()).toEqual({ slack: 1, email: 1, webhook: 1, check: 1 })
  }, 240_000)

  test('what became of a question is told wherever it was put up, whatever it was', async () => {
    const before = reached.length
    const { approval, ran } = await hold('/outcome', 'github')
    const { id } = approval
    const [runOf] = [...stack.github.repository.runs.values()].filter(({ display_title: title }) =>
      title.includes(id),
    )
    const speak = silence()
    await stack.operator('approvals', 'deny', id, '--reason', 'not today')
    expect((await ran).out).toBe('403')
    await expect.poll(() => stack.tickets.ids, { timeout: 10_000 }).toContain(`${id}.concluded`)
    const shown = (): object => ({
      slack: stack.slack.messages.find(({ blocks }) => JSON.stringify(blocks).includes(id))?.text.slice(0, 6),
      run: runOf?.conclusion,
      check: [...stack.github.repository.checks.values()].find((check) => check['external_id'] === id)?.[
        'conclusion'
      ],
      deployment: [...stack.gitlab.deployments.values()].find(
        ({ deployable }) => deployable?.pipeline.id === stack.gitlab.pipelineOf(id)?.id,
      )?.status,
      webhook: stack.tickets.taken.filter((body) => body.includes('concluded') && body.includes(id)).length,
    })
    expect(shown()).toMatchObject({ slack: 'Approv', run: null, deployment: 'blocked', webhook: 0 })
    await stack.gateway.restart('SIGKILL', speak)
    await expect.poll(shown, { timeout: 60_000 }).toEqual({
      slack: 'Denied',
      run: 'cancelled',
      check: 'failure',
      deployment: 'failed',
      webhook: 1,
    })
    expect(reached.length).toBe(before)
  }, 240_000)

  test('what was being put up is found, shown as over, and put up once', async () => {
    // What is done, and whose answers never come: the gateway does not know that it is there.
    stack.github.lose = /POST .*(dispatches|check-runs)$/
    stack.gitlab.lose = /POST .*pipeline$/
    stack.github.interfere(({ method, path }) =>
      method === 'GET' && /(workflows\/[^/]+\/runs|check-runs)$/.test(path) ? down : null,
    )
    const { home } = await stack.job('github')
    const ran = run(
      'curl',
      `-sS -o /dev/null -X DELETE --max-time 3 --cacert ${home}/ca.pem --cert ${home}/client.crt --key ${home}/client.key ${stack.url}/http/api/orphan`.split(
        ' ',
      ),
      {},
    )
    const pending = await stack.pending()
    const own = () =>
      [...stack.github.repository.runs.values()].filter(({ display_title: title }) =>
        title.includes(pending.id),
      )
    const pipelines = () =>
      [...stack.gitlab.pipelines.values()].filter(({ variables }) =>
        variables.some(({ value }) => value === pending.id),
      )
    const put = (): object => ({
      runs: own().length,
      checks: checksOf(pending.id),
      pipelines: pipelines().length,
    })
    await expect.poll(put, { timeout: 20_000 }).toEqual({ runs: 1, checks: 1, pipelines: 1 })
    await stack.gateway.restart('SIGKILL', () => {
      stack.github.lose = null
      stack.gitlab.lose = null
      stack.github.interfere(null)
    })
    await ran
    // The question lives on for who comes again; here it is answered instead.
    await stack.operator('approvals', 'deny', pending.id)
    await expect
      .poll(() => own().map(({ conclusion }) => conclusion), { timeout: 60_000 })
      .toEqual(['cancelled'])
    expect(put()).toEqual({ runs: 1, checks: 1, pipelines: 1 })
    expect(reached).not.toContain('/orphan')
  }, 240_000)
})
