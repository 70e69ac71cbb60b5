import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type GitlabOidc, startGitlabOidc } from '../fakes/gitlab-oidc.ts'
import { type Stack, hasPsql, startStack } from '../flows/stack.ts'
import { run } from '../flows/gateway-stack.ts'
import { executable, root } from '../servers/gateway.ts'
import { type Checkout, canRunPipelines, checkoutComponent } from './pipeline.ts'

const config = 'gitlab.example/acme/shop//.gitlab-ci.yml@refs/heads/main'

describe.skipIf(!canRunPipelines || !hasPsql)('the approval job (needs git, rsync, psql)', () => {
  let oidc: GitlabOidc
  let stack: Stack
  let checkout: Checkout

  beforeAll(async () => {
    oidc = await startGitlabOidc()
    checkout = await checkoutComponent(join(root, 'gitlab-component'))
    stack = await startStack({
      edit: (yaml) =>
        yaml
          .replace(
            'issuers:\n',
            `people: { alice: { gitlab: 43 } }\nissuers:\n  gitlab: { platform: gitlab, url: "${oidc.url}", allow_private: true }\n`,
          )
          .replace(
            'environment: production } }]',
            'environment: production } }, { issuer: gitlab, claims: { project_id: "7" } }]',
          )
          .replace('members: [operator]', 'members: [alice]')
          .replace('{ console: {} }', `{ gitlab-manual-job: { ci_config_ref_uri: "${config}" } }`),
    })
  })
  afterAll(async () => {
    await stack.close()
    await checkout.close()
    await oidc.close()
  })

  /** Plays the job as alice. */
  async function play(): Promise<{ code: number; text: string }> {
    const claims = { user_id: '43', user_access_level: 'maintainer', environment: 'hoop-approval' }
    const token = await oidc.issue('push', claims, { aud: stack.url })
    const yaml = `include:
  - component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/approval@$CI_COMMIT_SHA
    inputs:
      gateway: ${stack.url}
      ca: ${stack.gateway.pin}
      tags: [approvals]
      executable: ${process.execPath} ${executable}
`
    const { code, out, err } = await checkout.run(yaml, ['hoop-approval'], token)
    expect(out + err).not.toContain(token)
    return { code, text: out + err }
  }

  test('says so when nothing waits, and otherwise releases what its pipeline waits for', async () => {
    const early = await play()
    expect(early.text).toContain('nothing of this pipeline waits for it')
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
    expect(done.text).toContain(`${id} is approved`)
    expect(await waiting).toMatchObject({ code: 0 })
  })
})
