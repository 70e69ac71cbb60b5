import { spawn } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { keyOf, sign } from '../../gateway/approvals/gates/webhook-signature.ts'
import { granted } from '../fakes/github-api.ts'
import { blocksOf, read } from '../docs/documents.ts'
import { freePort } from '../servers/port.ts'

// What the guide gives to copy for platforms has what the gates want of it.

const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const pages = ['approvals', 'approvals/slack'].map((name) => `docs/guide/${name}.md`)
const blocks = pages.flatMap((page) =>
  blocksOf(page, 'yaml').map((text) => parse(text) as Record<string, unknown>),
)
const withKey = (...keys: readonly string[]): Record<string, unknown> => {
  const found = blocks.filter((block) => keys.every((key) => Object.hasOwn(block, key)))
  if (found.length !== 1) throw new Error(`${found.length} blocks have ${keys.join()}`)
  return found[0] ?? {}
}

describe('what the guide gives to copy', () => {
  it('is a workflow whose one job with a token waits in the environment, and whose name carries the id', () => {
    const { 'run-name': title, on, permissions, jobs } = withKey('run-name') as never as Workflow
    expect(title).toContain('${{ inputs.approval }}')
    expect(on).toEqual({
      workflow_dispatch: {
        inputs: { approval: { description: expect.any(String), required: true, type: 'string' } },
      },
    })
    expect(permissions).toEqual({})
    const waiting = Object.values(jobs).filter((job) => job.permissions !== undefined)
    expect(waiting).toMatchObject([
      { environment: 'production-db', permissions: { 'id-token': 'write' }, steps: [{}] },
    ])
    // Texts of inputs reach a shell by the environment only.
    for (const { steps } of Object.values(jobs))
      for (const { run = '' } of steps) expect(run).not.toContain('${{')
  })

  it('is a pipeline of GitLab that only the gateway’s start makes', () => {
    expect(withKey('workflow')).toMatchObject({
      workflow: {
        name: 'Approval $HOOP_APPROVAL',
        rules: [{ if: '$CI_PIPELINE_SOURCE == "api" && $HOOP_APPROVAL' }],
      },
      approve: { environment: { name: 'production-db' } },
    })
  })

  it('is a manifest of Slack with the one scope that the gateway needs', () => {
    expect(withKey('oauth_config')).toEqual({
      display_information: { name: 'Hoop Access', description: expect.any(String) },
      features: { bot_user: { display_name: 'hoop-access', always_online: true } },
      oauth_config: { scopes: { bot: ['chat:write'] } },
      settings: {
        interactivity: { is_enabled: true, request_url: 'https://GATEWAY/hooks/slack' },
        socket_mode_enabled: false,
      },
    })
  })

  it('are the permissions that a strict GitHub grants the App in every other test', () => {
    const rows = [
      ...read('docs/guide/approvals.md').matchAll(
        /^ +\| (Actions|Checks|Pull requests|Deployments|Contents) +\| (read(?: and write)?) /gm,
      ),
    ]
    const told = rows.map(([, name = '', access]) => [
      name.toLowerCase().replace(' ', '_'),
      access === 'read' ? 'read' : 'write',
    ])
    expect(Object.fromEntries(told)).toEqual(granted)
  })
})

it('runs: the ticket system of the guide takes what is signed, once, and nothing else', async () => {
  const code =
    read('docs/guide/approvals/webhook.md').split('```js\n// tickets.mjs')[1]?.split('```')[0] ?? ''
  const port = await freePort()
  const child = spawn(process.execPath, ['--input-type=module', '-', String(port)], {
    env: { TICKETS_SECRET: secret },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  child.stdin.end(code.slice(code.indexOf('\n')))
  let printed = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    printed += chunk
  })
  try {
    const view = { state: 'pending', url: 'https://hoop.test/approvals/apr_1' }
    const body = JSON.stringify({ type: 'approval.asked', data: { approval: view } })
    const send = (headers: Record<string, string>): Promise<number> =>
      fetch(`http://127.0.0.1:${port}`, { method: 'POST', headers, body }).then(
        ({ status }) => status,
        () => 0,
      )
    const headers = sign({ id: 'apr_1.asked', body }, keyOf(secret), Date.now())
    await expect.poll(() => send(headers), { timeout: 10_000 }).toBe(204)
    expect(await send(headers)).toBe(204)
    for (const other of [
      sign({ id: 'apr_1.asked', body: `${body} ` }, keyOf(secret), Date.now()),
      sign({ id: 'apr_1.asked', body }, keyOf(secret), Date.now() - 301_000),
      { ...headers, 'webhook-signature': 'v1,é' },
      {},
    ])
      expect(await send(other)).toBe(401)
    await expect.poll(() => printed).toBe(`approval.asked pending ${view.url}\n`)
  } finally {
    child.kill()
  }
})

interface Workflow {
  readonly 'run-name': string
  readonly on: unknown
  readonly permissions: unknown
  readonly jobs: Readonly<
    Record<string, { permissions?: unknown; environment?: string; steps: readonly { run?: string }[] }>
  >
}
