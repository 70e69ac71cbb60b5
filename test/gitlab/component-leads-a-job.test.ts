import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Pipeline } from '../fakes/gitlab-oidc.ts'
import type { Ran } from '../flows/stack.ts'
import { writePlugin } from '../../build/plugins.ts'
import { executable, root } from '../servers/gateway.ts'
import { lacks } from '../servers/programs.ts'
import { type Pipelines, startPipelines } from './pipeline.ts'

const component = await readFile(join(root, 'gitlab-component/templates/access.yml'), 'utf8')

/** The stages of the pipelines that are told apart by their source, each with the claims that docs/guide/gitlab.md names. */
const sources = {
  scheduled: '{ project_id: "7", pipeline_source: schedule, ref_protected: "true" }',
  child: '{ project_id: "7", pipeline_source: parent_pipeline, ref_protected: "true" }',
  multi_project: '{ project_id: "7", pipeline_source: pipeline, ref_protected: "true" }',
  merge_request: '{ project_id: "7", job_project_id: "7", pipeline_source: merge_request_event }',
} as const

const stageOf = ([kind, claims]: readonly [string, string]): string => `
  of-${kind.replace('_', '-')}:
    subjects:
      - { issuer: gitlab, claims: ${claims} }
    grants: [{ connection: orders-db, as: { user: ci_readonly, password: "\${ORDERS_RO_PASSWORD}" }, allow: [{ operations: [read] }] }]`

test.for(['access', 'approval'])(
  '%s fetches the executable by the script of the Jenkins library',
  async (name) => {
    const folder = await mkdtemp(join(tmpdir(), 'hoop-component-'))
    try {
      const pin = { name: 'hoop-access.cjs', sha256: 'f'.repeat(64), size: 1 }
      await writePlugin('gitlab-component', join(folder, 'component'), [pin])
      const built = await readFile(join(folder, `component/templates/${name}.yml`), 'utf8')
      const script = await readFile(join(root, 'jenkins-shim/resources/access/hoop/fetch.sh'), 'utf8')
      const indented = script.trimEnd().replaceAll(/^(?=.)/gm, '      ')
      expect(built).toContain(`      HOOP_ACCESS_PINS='${pin.sha256}:${pin.name}'\n`)
      expect(built).toContain(`\n${indented}\n      ) || exit 1\n`)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  },
)

test('the component sets nothing but its hidden job', () => {
  const [, content = ''] = component.split('\n---\n')
  const keys = content.split('\n').filter((line) => /^\S/.test(line))
  expect(keys).toEqual(['.hoop-access:'])
})

// Without git and rsync no pipeline runs, without psql no job reaches a database.
describe.skipIf(lacks('git', 'rsync', 'psql'))('pipelines', () => {
  let pipelines: Pipelines
  let oidc: Pipelines['oidc']
  let stack: Pipelines['stack']
  let checkout: Pipelines['checkout']

  beforeAll(async () => {
    pipelines = await startPipelines((yaml) =>
      yaml
        .replace(
          '\n  deploy:\n',
          '\n  bare:\n    binding: token\n    subjects: []\n    grants: [{ connection: orders-db, as: { user: ci_readonly, password: "${ORDERS_RO_PASSWORD}" }, allow: [{ operations: [read] }] }]\n  deploy:\n',
        )
        .replace('\n  deploy:\n', `${Object.entries(sources).map(stageOf).join('')}\n  deploy:\n`)
        .replaceAll(
          /subjects: \[.*\]/g,
          'subjects: [{ issuer: gitlab, claims: { project_id: "7", ref_protected: "true" } }]',
        ),
    )
    ;({ oidc, stack, checkout } = pipelines)
  })
  afterAll(() => pipelines.close())

  /** Runs one job of a pipeline that includes the component. */
  async function pipeline(
    job: string,
    options: { stage?: string; inputs?: string; pipeline?: Pipeline; ca?: string } = {},
  ): Promise<Ran> {
    const yaml = `include:
  - component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/access@$CI_COMMIT_SHA
    inputs:
      gateway: ${stack.url}
      stage: ${options.stage ?? 'test'}
      ca: ${options.ca ?? stack.gateway.pin}
${options.inputs ?? ''}
job:
${job}
`
    const token = await oidc.issue(options.pipeline ?? 'push', {}, { aud: stack.url })
    const ran = await checkout.run(yaml, ['job'], token)
    // The token goes from the platform to the gateway and shows nowhere.
    expect(ran.out + ran.err).not.toContain(token)
    return ran
  }

  async function ledger(): Promise<Record<string, unknown>[]> {
    const text = await readFile(join(stack.data, 'recordings/ledger.jsonl'), 'utf8')
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  /** All identities made so far are over, and no folder is left. */
  async function expectNothingLeft(): Promise<void> {
    const events = await ledger()
    const made = events.filter(({ kind }) => kind === 'identity').map(({ identity }) => identity)
    const revoked = new Set(events.filter(({ kind }) => kind === 'revoked').map(({ identity }) => identity))
    expect(made.filter((identity) => !revoked.has(identity))).toEqual([])
    expect((await readdir(checkout.temporary)).filter((name) => name.startsWith('hoop'))).toEqual([])
  }

  const read = `psql -XAtc "SELECT 'read', count(*) OVER (), email FROM customers"`
  const readDone = 'read|2|'

  test('extends: the job’s script reaches the database, masked, and nothing is left of it', async () => {
    const before = (await ledger()).length
    const ran = await pipeline(`  extends: .hoop-access\n  script:\n    - ${JSON.stringify(read)}`)
    expect(ran.out).toContain(readDone)
    expect(ran.out).not.toContain('ada.lovelace@example.com')
    expect(ran).toMatchObject({ code: 0 })
    expect(ran.out + ran.err).not.toContain('WARNING')
    // Against the schema that GitLab publishes, which gitlab-ci-local carries.
    expect(ran.out + ran.err).toContain('json schema validated')
    expect((await ledger()).length).toBeGreaterThan(before)
    await expectNothingLeft()
  })

  test('!reference: beside the job’s own before_script', async () => {
    const ran = await pipeline(`  id_tokens: !reference [.hoop-access, id_tokens]
  before_script:
    - !reference [.hoop-access, before_script]
    - echo "mine, as $HOOP_STAGE"
  after_script: !reference [.hoop-access, after_script]
  script:
    - ${JSON.stringify(read)}`)
    expect(ran.out).toContain('mine, as test')
    expect(ran.out).toContain(readDone)
    expect(ran.code).toBe(0)
    await expectNothingLeft()
  })

  test('exec in script: a narrower child, that may not write what the job may', async () => {
    const write = `psql -XAtc "INSERT INTO orders VALUES (555, 1, 1)"`
    const ran = await pipeline(
      `  extends: .hoop-access
  script:
    - hoop-access exec --connections orders-db:read -- ${read}
    - ${write}
    - $HOOP_ACCESS exec --connections orders-db:read -- ${write.replace('555', '556')}`,
      { stage: 'deploy' },
    )
    expect(ran.out).toContain(readDone)
    expect(ran.out).toContain('INSERT 0 1')
    expect(ran.code).not.toBe(0)
    expect(ran.out + ran.err).toContain('narrowed')
    expect(stack.postgres.log()).toContain('VALUES (555')
    expect(stack.postgres.log()).not.toContain('VALUES (556')
    expect(await stack.recorded('556')).not.toEqual([])
    await expectNothingLeft()
  })

  test('a variable with a connection string leads through the gateway', async () => {
    const ran = await pipeline(
      `  extends: .hoop-access
  variables: { DATABASE_URL: "postgres://ci:old@db.internal:5432/shop" }
  script:
    - psql -XAt "$DATABASE_URL" -c "SELECT 'read', count(*) FROM orders WHERE id < 100"
    - echo "token=\${HOOP_ID_TOKEN:-gone} \${HOOP_TOKEN:-none}"`,
      { inputs: '      env: DATABASE_URL=orders-db\n      connections: orders-db:read' },
    )
    expect(ran.out).toContain('read|2')
    expect(ran.out).toContain('token=gone none')
    await expectNothingLeft()
  })

  test('export: token, for clients without a certificate', async () => {
    const ran = await pipeline(
      `  extends: .hoop-access
  script:
    - unset PGSSLCERT PGSSLKEY
    - ${JSON.stringify(read)}`,
      { stage: 'bare', inputs: '      export: token' },
    )
    expect(ran.out).toContain(readDone)
    expect(ran.code).toBe(0)
    await expectNothingLeft()
  })

  test('an executable that the job has, and a CA as a file', async () => {
    const ran = await pipeline(`  extends: .hoop-access\n  script:\n    - ${JSON.stringify(read)}`, {
      ca: join(stack.data, 'ca.pem'),
      inputs: `      executable: ${process.execPath} ${executable}\n`,
    })
    expect(ran.out).toContain(readDone)
    await expectNothingLeft()
  })

  test('a job whose own before_script replaced ours is told so, and has no identity', async () => {
    const before = (await ledger()).filter(({ kind }) => kind === 'identity').length
    const ran = await pipeline(`  extends: .hoop-access
  before_script:
    - echo mine
  script:
    - echo "home=\${HOOP_HOME:-none}"`)
    expect(ran.out).toContain('home=none')
    expect(ran.out + ran.err).toContain('WARNING: this job opened no identity')
    expect((await ledger()).filter(({ kind }) => kind === 'identity').length).toBe(before)
  })

  test('a before_script that fails after ours still ends the identity', async () => {
    const ran = await pipeline(`  extends: .hoop-access
  before_script:
    - !reference [.hoop-access, before_script]
    - "false"
  script: [echo never]`)
    expect(ran.code).not.toBe(0)
    expect(ran.out).not.toContain('> never')
    await expectNothingLeft()
  })

  test('a script that fails still ends the identity', async () => {
    const ran = await pipeline(`  extends: .hoop-access\n  script: [exit 3]`)
    expect(ran.code).not.toBe(0)
    await expectNothingLeft()
  })

  test.for(Object.keys(sources) as (keyof typeof sources)[])(
    'the pipeline of a %s is told apart: it has its own stage, and a push has not',
    async (kind) => {
      const stage = `of-${kind.replace('_', '-')}`
      const job = `  extends: .hoop-access\n  script:\n    - ${JSON.stringify(read)}`
      const own = await pipeline(job, { stage, pipeline: kind })
      expect(own.out, own.err).toContain(readDone)
      for (const other of ['push', 'fork_in_parent'] as const) {
        const refused = await pipeline(job, { stage, pipeline: other })
        expect(refused.code).not.toBe(0)
        expect(refused.out + refused.err).toContain(`may not become stage ${stage}`)
      }
      await expectNothingLeft()
    },
  )

  test('a gateway that gives another executable: nothing of it runs, and no identity is made', async () => {
    const file = pipelines.built.files.find(({ name }) => name === 'hoop-access.cjs')
    const path = join(stack.data, 'client', `${file?.sha256}-hoop-access.cjs`)
    const good = await readFile(path)
    const marker = join(checkout.temporary, 'poisoned')
    const poison = `require('node:fs').writeFileSync(${JSON.stringify(marker)}, '')\n`
    await writeFile(path, poison.padEnd(good.length, ' '))
    const before = (await ledger()).filter(({ kind }) => kind === 'identity').length
    try {
      const ran = await pipeline(`  extends: .hoop-access\n  script: [echo began]`)
      expect(ran.code).not.toBe(0)
      expect(ran.out + ran.err).toContain('it was not run')
      expect(ran.out + ran.err).toContain('no identity is in force: none was opened')
      expect(ran.out + ran.err).not.toContain('WARNING')
      expect(ran.out).not.toContain('> began')
      expect(existsSync(marker)).toBe(false)
      expect((await ledger()).filter(({ kind }) => kind === 'identity').length).toBe(before)
      await expectNothingLeft()
    } finally {
      await writeFile(path, good)
    }
  })

  test.for<Pipeline>(['fork', 'fork_in_parent', 'merge_request'])(
    'the pipeline of a %s gets nothing, and its script does not run',
    async (kind) => {
      const marker = `SELECT 'of ${kind}'`
      const ran = await pipeline(
        `  extends: .hoop-access\n  script:\n    - echo began\n    - psql -c "${marker}"`,
        {
          pipeline: kind,
        },
      )
      expect(ran.code).not.toBe(0)
      expect(ran.out + ran.err).toContain('may not become stage test')
      expect(ran.out).not.toContain('> began')
      expect(stack.postgres.log()).not.toContain(marker)
      await expectNothingLeft()
    },
  )

  test.for([
    ['gateway: https://x/$(touch pwned)', 'gateway'],
    ['connections: "a\'; id; \'"', 'connections'],
    ['export: everything', 'export'],
    ['executable: "sh -c id;id"', 'executable'],
    [`pins: "${'0'.repeat(64)}:hoop-access-linux-x64.gz$(touch pwned)"`, 'pins'],
    [`pins: "${'0'.repeat(64)}:hoop-access.cjs"`, 'pins'],
  ])('an input of %j is refused before anything runs', async ([input]) => {
    const yaml = `include:
  - component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/access@$CI_COMMIT_SHA
    inputs:
      ${input}
${String(input).startsWith('gateway') ? '' : `      gateway: ${stack.url}\n`}      stage: test
job: { extends: .hoop-access, script: [echo ran] }
`
    const ran = await checkout.run(yaml, ['job'], 'none')
    expect(ran.code).not.toBe(0)
    expect(ran.out).not.toContain('> ran')
    expect(ran.out + ran.err).toMatch(/does not match|allowed options/)
  })
})
