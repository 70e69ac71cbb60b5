import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type JenkinsApi, startJenkinsApi } from '../fakes/jenkins-api.ts'
import { type JenkinsOidc, startJenkinsOidc } from '../fakes/jenkins-oidc.ts'
import { type Stack, startStack } from '../flows/stack.ts'
import { root } from '../servers/gateway.ts'
import { type BuiltPlugins, buildPlugins } from '../servers/job-files.ts'
import { lacks } from '../servers/programs.ts'
import { groovy } from './groovy.ts'

interface Build {
  readonly failure: string | null
  readonly log: string
  readonly calls: string[]
}

describe.skipIf(lacks('groovy', 'java', 'psql'))('a block that asks by input', { timeout: 240_000 }, () => {
  let oidc: JenkinsOidc
  let api: JenkinsApi
  let stack: Stack
  let workspace: string
  let built: BuiltPlugins

  beforeAll(async () => {
    workspace = await mkdtemp(join(tmpdir(), 'hoop-jenkins-'))
    oidc = await startJenkinsOidc(['hoop-deploy'])
    api = await startJenkinsApi(oidc.url)
    built = await buildPlugins(join(workspace, 'built'))
    stack = await startStack({
      prepare: (data) => built.offer(data),
      edit: (yaml) =>
        yaml
          .replace(
            'issuers:\n',
            `people:\n  alice: { jenkins: alice }\n  dev: { jenkins: dev }\nissuers:\n  jenkins: { platform: jenkins, url: "${api.url}/oidc", allow_private: true, user: ${api.user}, token: ${api.token} }\n`,
          )
          .replace(
            'environment: production } }]',
            'environment: production } }, { issuer: jenkins, claims: { kid: hoop-deploy } }]',
          )
          .replace('members: [operator]', 'members: [alice, dev, operator]')
          .replace('gates: [{ console: {} }]', 'gates: [{ jenkins-input: {} }, { console: {} }]'),
    })
  })
  afterAll(async () => {
    await stack.close()
    await Promise.all([oidc.close(), api.close()])
    await rm(workspace, { recursive: true, force: true })
    expect(api.violations).toEqual([])
  })

  /** A build of job shop that sends a statement through a block, and asks beside it. */
  let number = 6
  async function build(statement: string): Promise<Build> {
    const token = await oidc.issue(
      'hoop-deploy',
      { job: 'shop', number: ++number },
      { iss: `${api.url}/oidc`, sub: `${api.url}/job/shop/` },
      { aud: stack.url },
    )
    return (await groovy(
      'steps.groovy',
      [
        root,
        `hoopAccess(gateway: '${stack.url}', ca: '${stack.gateway.pin}', stage: 'deploy', credentialsId: 'hoop-deploy', ask: true) {
          sh 'psql -XAtqc "${statement}"'
        }`,
        built.library,
      ],
      {
        env: { PATH: process.env.PATH, HOME: workspace, WORKSPACE_TMP: join(workspace, 'tmp') },
        credentials: { 'hoop-deploy': [token] },
        controller: `${api.url}/double/input`,
      },
    )) as Build
  }

  test('is released by whoever the controller says answered, and the input is gone', async () => {
    const done = build('DELETE FROM notes WHERE id = 1')
    await expect.poll(() => api.inputs.length, { timeout: 100_000 }).toBe(1)
    expect(api.inputs[0]?.message).toMatch(/^apr_[a-z2-7]{26}: delete public\.notes on orders-db/)
    expect(stack.postgres.log()).not.toContain('DELETE FROM notes WHERE id = 1')
    // Who started the build is no answer: it is asked again.
    const { id = '' } = api.inputs[0] ?? {}
    await seen()
    api.proceed('dev')
    await expect.poll(() => api.inputs.length, { timeout: 100_000 }).toBe(1)
    await seen()
    api.proceed('alice')
    const { failure, calls } = await done
    expect(failure).toBeNull()
    expect(calls.filter((call) => call.startsWith('input')).length).toBe(2)
    expect(stack.postgres.log()).toContain('DELETE FROM notes WHERE id = 1')
    const { out } = await stack.operator('approvals', 'show', id, '--json')
    expect(JSON.parse(out)).toMatchObject({
      state: 'used',
      answers: [{ person: 'alice', gate: 'jenkins-input' }],
    })
  })

  test('is refused elsewhere: the input is taken away, and the block goes on to fail as the statement does', async () => {
    const done = build('DELETE FROM notes WHERE id = 2')
    await expect.poll(() => api.inputs.length, { timeout: 100_000 }).toBe(1)
    const { id } = await stack.pending()
    await stack.operator('approvals', 'deny', id, '--reason', 'not on a Friday')
    const { failure, log } = await done
    expect(failure).toContain('exit code')
    expect(log).toContain('not on a Friday')
    expect(api.inputs).toEqual([])
    expect(stack.postgres.log()).not.toContain('DELETE FROM notes WHERE id = 2')
  })

  test('ends when its input is aborted: the request is withdrawn, and the identity revoked', async () => {
    const done = build('DELETE FROM notes WHERE id = 3')
    await expect.poll(() => api.inputs.length, { timeout: 100_000 }).toBe(1)
    const { id } = await stack.pending()
    api.abort()
    const { failure, calls } = await done
    expect(failure).toContain('Rejected')
    expect(calls.some((call) => call.includes('close'))).toBe(true)
    const { out } = await stack.operator('approvals', 'show', id, '--json')
    expect(JSON.parse(out)).toMatchObject({ state: 'withdrawn', answers: [] })
    expect(stack.postgres.log()).not.toContain('DELETE FROM notes WHERE id = 3')
  })

  /** Until the gateway has seen the input wait, twice: people are not as quick as this test. */
  async function seen(): Promise<void> {
    const before = api.seen()
    await expect.poll(() => api.seen(), { timeout: 100_000 }).toBeGreaterThan(before + 1)
  }
})
