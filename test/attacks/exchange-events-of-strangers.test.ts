import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type TestGateway, configOf, exchangeToken, makeKey, startGateway } from '../identity/gateway.ts'

// A stranger who may open a pull request, an issue or a fork makes the repository run a job. Whatever of it GitHub signs,
// the stranger gets no stage that was meant for the repository's own pushes.

const workflow = (file: string): string => `acme/shop/.github/workflows/${file}@refs/heads/main`

let gateway: TestGateway
beforeEach(async () => {
  gateway = await startGateway()
})
afterEach(() => gateway.close())

async function become(stage: string, claims: Record<string, unknown>): Promise<string | null> {
  const token = await gateway.issue(claims)
  return exchangeToken(gateway, { token, key: makeKey(), scope: `stage:${stage}` }).then(
    () => null,
    (error: { code: string; why: string }) => `${error.code}: ${error.why}`,
  )
}

async function nobody(): Promise<void> {
  expect(await gateway.store.db.selectFrom('identities').selectAll().execute()).toEqual([])
}

// As GitHub tells it: these run on the default branch, whoever caused them.
const strange = [
  'pull_request_target',
  'workflow_run',
  'issue_comment',
  'issues',
  'discussion',
  'discussion_comment',
  'pull_request_review',
  'pull_request_review_comment',
  'fork',
  'watch',
  'gollum',
]

describe.for(strange)('an event of a stranger, %s', (event_name) => {
  const claims = {
    event_name,
    actor: 'mallory',
    actor_id: '666',
    head_ref: event_name === 'pull_request_target' ? 'evil' : '',
    base_ref: event_name === 'pull_request_target' ? 'main' : '',
    ref: 'refs/heads/main',
    ref_protected: 'true',
  }

  test('is no push to main', async () => {
    expect(await become('test', claims)).toMatch(/^subject_mismatch: .*can be caused by people outside/)
    await nobody()
  })

  test('is not let in by the environment that its job names, nor by a workflow file', async () => {
    const more = { ...claims, environment: 'production', job_workflow_ref: workflow('deploy.yml') }
    expect(await become('deploy', more)).toContain(`the event ${event_name}`)
    await nobody()
  })

  test('is let in by a subject that names it, and by that alone', async () => {
    gateway.config = configOf(gateway.github.url, (raw) => {
      const wanted = { repository_id: '1296269', ref: 'refs/heads/main', event_name }
      Object.assign(Object(raw['stages']), {
        named: { subjects: [{ issuer: 'github', claims: wanted }] },
        pushes: { subjects: [{ issuer: 'github', claims: { ...wanted, event_name: 'push' } }] },
      })
    })
    expect(await become('pushes', claims)).toContain('claim event_name must be "push"')
    await nobody()
    expect(await become('named', claims)).toBeNull()
  })
})

test('a pull request of the repository itself is not its branch', async () => {
  const claims = {
    event_name: 'pull_request',
    ref: 'refs/pull/7/merge',
    head_ref: 'main',
    base_ref: 'main',
    sub: 'repo:acme@9919/shop@1296269:pull_request',
  }
  expect(await become('test', claims)).toContain('claim ref must be')
  await nobody()
})

test('a fork’s own workflow is another repository, whatever it is called', async () => {
  const claims = { repository_id: '4242', repository: 'acme/shop', sub: 'repo:acme/shop:ref:refs/heads/main' }
  expect(await become('test', claims)).toContain('claim repository_id must be "1296269", and is "4242"')
  await nobody()
})

describe('the environment', () => {
  const deploy = { job_workflow_ref: workflow('deploy.yml') }

  test.for([
    ['none', undefined],
    ['an empty one', ''],
    ['another’s name', 'production-eu'],
    ['the name in another case', 'Production'],
    ['the name with a space', 'production '],
    ['a list with the name in it', ['production']],
    ['an object that reads as the name', { toString: 'production' }],
  ] as const)('%s is not production', async ([, environment]) => {
    expect(await become('deploy', { ...deploy, environment })).toContain(
      'claim environment must be "production"',
    )
    await nobody()
  })

  test.for([
    ['of a branch', 'acme/shop/.github/workflows/deploy.yml@refs/heads/feature'],
    ['of a pull request', 'acme/shop/.github/workflows/deploy.yml@refs/pull/7/merge'],
    ['of a fork', 'mallory/shop/.github/workflows/deploy.yml@refs/heads/main'],
    ['called so by a tag', 'acme/shop/.github/workflows/deploy.yml@refs/tags/refs/heads/main'],
  ])('the workflow file %s is not the one on main', async ([, job_workflow_ref]) => {
    const why = await become('deploy', { job_workflow_ref, environment: 'production' })
    expect(why).toContain('claim job_workflow_ref must be')
    await nobody()
  })
})

describe('the stage', () => {
  const pushed = { ref: 'refs/heads/main' }

  test.for([
    'stage:test stage:deploy',
    'stage:deploy stage:test',
    'stage:test\nstage:deploy',
    'stage:deploy\u00a0',
    'stage:Deploy',
    'stage:__proto__',
    'stage:constructor',
    'stage:',
    'stage:*',
    'connection:orders-db',
    '',
  ])('a scope of %j makes no other stage than the claims let', async (scope) => {
    const token = await gateway.issue(pushed)
    const refused = await exchangeToken(gateway, { token, key: makeKey(), scope }).then(
      () => null,
      (error: { code: string }) => error.code,
    )
    expect(refused).toMatch(/^(?:invalid_scope|subject_mismatch|invalid_request)$/)
    await nobody()
  })

  test('a stage without subjects is no job’s', async () => {
    expect(await become('migrate', pushed)).toContain('reached by delegation only')
    await nobody()
  })
})
