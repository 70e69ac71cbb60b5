import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { matchStage } from '../../gateway/identity/claims.ts'
import { Issuers } from '../../gateway/identity/issuers.ts'
import { jobKey } from '../../gateway/identity/job.ts'
import type { Config } from '../../gateway/policy/schema.ts'
import { type GitlabOidc, type Pipeline, startGitlabOidc } from '../fakes/gitlab-oidc.ts'
import { type JenkinsOidc, startJenkinsOidc } from '../fakes/jenkins-oidc.ts'
import { configOf, gatewayUrl } from './gateway.ts'

let gitlab: GitlabOidc
let jenkins: JenkinsOidc

beforeAll(async () => {
  ;[gitlab, jenkins] = await Promise.all([startGitlabOidc(), startJenkinsOidc(['hoop-test', 'hoop-deploy'])])
})
afterAll(() => Promise.all([gitlab.close(), jenkins.close()]))

/** A stage `s` for one subject of that issuer. */
function configFor(issuer: 'gitlab' | 'jenkins', claims: Record<string, string>): Config {
  return configOf('https://github.example', (raw) => {
    Object.assign(Object(raw['issuers']), {
      gitlab: { platform: 'gitlab', url: gitlab.url, allow_private: true },
      jenkins: { platform: 'jenkins', url: jenkins.url, allow_private: true },
    })
    Object.assign(Object(raw['stages']), { s: { subjects: [{ issuer, claims }] } })
  })
}

/** Null when the token may become the stage, else why not. */
async function refusal(config: Config, token: string): Promise<string | null> {
  const verified = await new Issuers(() => config).verify(token)
  try {
    matchStage(config, 's', verified)
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

describe('GitLab', () => {
  const aud = gatewayUrl
  const asked = async (
    wanted: Record<string, string>,
    pipeline: Pipeline,
    claims: Record<string, unknown> = {},
  ): Promise<string | null> =>
    refusal(configFor('gitlab', wanted), await gitlab.issue(pipeline, claims, { aud }))

  test.for<Pipeline>(['push', 'scheduled', 'child', 'multi_project', 'merge_request'])(
    'the project’s own %s pipeline is the project’s',
    async (pipeline) => {
      expect(await asked({ project_id: '7' }, pipeline)).toBeNull()
    },
  )

  test.for<[string, Pipeline]>([
    ['push', 'push'],
    ['schedule', 'scheduled'],
    ['parent_pipeline', 'child'],
    ['pipeline', 'multi_project'],
    ['merge_request_event', 'merge_request'],
  ])('pipeline_source %s is told apart from all others', async ([source, pipeline]) => {
    const wanted = { project_id: '7', pipeline_source: source }
    expect(await asked(wanted, pipeline)).toBeNull()
    const others: Pipeline[] = ['push', 'scheduled', 'child', 'multi_project', 'merge_request']
    for (const other of others.filter((one) => one !== pipeline)) {
      expect(await asked(wanted, other)).toContain('claim pipeline_source must be')
    }
  })

  test.for([
    { project_id: '7' },
    { job_project_id: '7' },
    { project_path: 'acme/*' },
    { namespace_id: '70' },
    { job_namespace_path: 'acme' },
    { user_id: '**' },
    { project_id: '7', job_project_id: '7' },
  ] as Record<string, string>[])('a fork gets nothing from a subject of %j', async (wanted) => {
    // A subject that names no project lets a fork’s own pipelines in, as it says; its code in the parent’s it does not.
    if (!('user_id' in wanted)) expect(await asked(wanted, 'fork')).not.toBeNull()
    expect(await asked(wanted, 'fork_in_parent')).not.toBeNull()
  })

  test('code of a fork that the parent runs is let in only by a subject that names both projects', async () => {
    expect(await asked({ job_project_id: '7' }, 'fork_in_parent')).toContain('merge request from a fork')
    expect(await asked({ project_id: '98', job_project_id: '7' }, 'fork_in_parent')).toBeNull()
    expect(await asked({ project_id: '98', job_project_id: '7' }, 'fork')).toContain('job_project_id')
  })

  test('an older GitLab without job_project_* is decided by project_id', async () => {
    const old = { job_project_id: undefined, job_project_path: undefined }
    expect(await asked({ project_id: '7' }, 'push', old)).toBeNull()
    expect(await asked({ project_id: '7' }, 'fork', old)).not.toBeNull()
    expect(await asked({ job_project_id: '7' }, 'push', old)).toContain('the token has none')
  })

  test('booleans are text', async () => {
    expect(await asked({ project_id: '7', ref_protected: 'true' }, 'push')).toBeNull()
    expect(await asked({ project_id: '7', ref_protected: 'true' }, 'merge_request')).toContain(
      'claim ref_protected must be "true", and is "false"',
    )
  })

  test('a subject of another platform does not decide by GitLab’s rule', async () => {
    const config = configFor('jenkins', { job_project_id: '7' })
    const token = await jenkins.issue(
      'hoop-test',
      { job: 'a', number: 1 },
      { job_project_id: '7', project_id: '98' },
      { aud },
    )
    expect(await refusal(config, token)).toBeNull()
  })
})

describe('Jenkins', () => {
  const aud = gatewayUrl
  const build = { job: 'shop', number: 12 }

  test('the credential tells stages apart, which the token’s claims do not', async () => {
    const config = configFor('jenkins', { sub: '**/job/shop/', kid: 'hoop-deploy' })
    expect(await refusal(config, await jenkins.issue('hoop-deploy', build, {}, { aud }))).toBeNull()
    expect(await refusal(config, await jenkins.issue('hoop-test', build, {}, { aud }))).toContain(
      'claim kid must be "hoop-deploy", and is "hoop-test"',
    )
  })

  test('a claim template named kid does not pass for the credential', async () => {
    const config = configFor('jenkins', { kid: 'hoop-deploy' })
    const token = await jenkins.issue('hoop-test', build, { kid: 'hoop-deploy' }, { aud })
    expect(await refusal(config, token)).toContain('is "hoop-test"')
  })

  test('a header that names another credential does not verify', async () => {
    const config = configFor('jenkins', { kid: 'hoop-deploy' })
    const token = await jenkins.issue('hoop-test', build, {}, { aud, kid: 'hoop-deploy' })
    await expect(refusal(config, token)).rejects.toThrow('signature')
  })

  test('a build has one root for each credential, and each token is one use', async () => {
    const issuers = new Issuers(() => configFor('jenkins', { sub: '**' }))
    const verified = async (credential: string, number: number, issuedIn = 0) =>
      issuers.verify(await jenkins.issue(credential, { job: 'shop', number }, {}, { aud, issuedIn }))
    const first = await verified('hoop-test', 1)
    expect(jobKey(await verified('hoop-test', 1, -5))).toBe(jobKey(first))
    expect((await verified('hoop-test', 1, -5)).digest).not.toBe(first.digest)
    expect(jobKey(await verified('hoop-deploy', 1))).not.toBe(jobKey(first))
    expect(jobKey(await verified('hoop-test', 2))).not.toBe(jobKey(first))
  })
})
