import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../flows/gateway-stack.ts'
import { executable } from '../servers/gateway.ts'
import { lacks } from '../servers/programs.ts'
import { type Pipelines, startPipelines } from './pipeline.ts'

const config = 'gitlab.example/acme/shop//.gitlab-ci.yml@refs/heads/main'

describe.skipIf(lacks('git', 'rsync', 'psql'))('the approval job', () => {
  let pipelines: Pipelines
  let oidc: Pipelines['oidc']
  let stack: Pipelines['stack']
  let checkout: Pipelines['checkout']

  beforeAll(async () => {
    pipelines = await startPipelines((yaml) =>
      yaml
        .replace('issuers:\n', 'people: { alice: { gitlab: 43 } }\nissuers:\n')
        .replace(
          'environment: production } }]',
          'environment: production } }, { issuer: gitlab, claims: { project_id: "7" } }]',
        )
        .replace('members: [operator]', 'members: [alice]')
        .replace('{ console: {} }', `{ gitlab-manual-job: { ci_config_ref_uri: "${config}" } }`),
    )
    ;({ oidc, stack, checkout } = pipelines)
  })
  afterAll(() => pipelines.close())

  /** Plays the job as alice; with the gateway's file for jobs, when no executable is named. */
  async function play(inputs = '', variables: Record<string, string> = {}): Promise<{ text: string }> {
    const claims = { user_id: '43', user_access_level: 'maintainer', environment: 'hoop-approval' }
    const token = await oidc.issue('push', claims, { aud: stack.url })
    const yaml = `include:
  - component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/approval@$CI_COMMIT_SHA
    inputs:
      gateway: ${stack.url}
      ca: ${stack.gateway.pin}
      tags: [approvals]
${inputs}`
    const held = await readdir(checkout.temporary)
    const { out, err } = await checkout.run(yaml, ['hoop-approval'], token, variables)
    expect(out + err).not.toContain(token)
    expect(await readdir(checkout.temporary)).toEqual(held)
    return { text: out + err }
  }

  test('says so when nothing waits, and otherwise releases what its pipeline waits for', async () => {
    const early = await play()
    expect(early.text).toContain('nothing of this pipeline waits for it')
    const asOption = await play('', { HOOP_APPROVAL: `--ca=${'sha256:'.padEnd(50, 'A')}=` })
    expect(asOption.text).toContain('is not the id of one approval')
    const named = await play(`      executable: ${process.execPath} ${executable}\n`)
    expect(named.text).toContain('nothing of this pipeline waits for it')
    const held = await oidc.issue('push', { job_id: '1000' }, { aud: stack.url })
    const opened = await run(
      process.execPath,
      [
        executable,
        'open',
        '--platform',
        'gitlab',
        '--gateway',
        stack.url,
        '--ca',
        stack.gateway.pin,
        '--stage',
        'deploy',
      ],
      { HOOP_ID_TOKEN: held, RUNNER_TEMP: checkout.temporary },
    )
    expect(opened.code, opened.err).toBe(0)
    const settings = await run(process.execPath, [executable, 'env', '--format', 'json'], {
      HOOP_HOME: opened.out.trim(),
    })
    const env = JSON.parse(settings.out) as Record<string, string>
    const waiting = run('psql', ['-XAtqc', 'DELETE FROM notes WHERE id = 1'], env)
    const { id } = await stack.pending()
    const done = await play()
    expect(done.text).toContain('json schema validated')
    expect(done.text).toContain(`${id} is approved`)
    expect(await waiting).toMatchObject({ code: 0 })
  })
  test('a gateway that gives another executable: nothing of it runs, and nothing is reported', async () => {
    const file = pipelines.built.files.find(({ name }) => name === 'hoop-access.cjs')
    const path = join(stack.data, 'client', `${file?.sha256}-hoop-access.cjs`)
    const good = await readFile(path)
    await writeFile(path, "console.log('poisoned')\n")
    try {
      const { text } = await play()
      expect(text).toContain('it was not run')
      expect(text).not.toContain('poisoned')
    } finally {
      await writeFile(path, good)
    }
  })
})
