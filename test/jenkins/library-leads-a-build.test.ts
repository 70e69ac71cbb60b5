import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type JenkinsOidc, startJenkinsOidc } from '../fakes/jenkins-oidc.ts'
import { type Stack, startStack } from '../flows/stack.ts'
import { executable, root } from '../servers/gateway.ts'
import { type BuiltPlugins, buildPlugins } from '../servers/job-files.ts'
import { lacks } from '../servers/programs.ts'
import { groovy } from './groovy.ts'

/** What a build did. */
interface Build {
  readonly failure: string | null
  readonly log: string
  readonly calls: string[]
  readonly layers: number
}

// Says what is skipped: Groovy runs the library, psql reaches the database.
describe.skipIf(lacks('groovy', 'java', 'psql'))('builds', () => {
  let oidc: JenkinsOidc
  let stack: Stack
  let folder: string
  let workspace: string
  let built: BuiltPlugins
  let number = 0

  beforeAll(async () => {
    oidc = await startJenkinsOidc(['hoop-test', 'hoop-deploy'])
    folder = await mkdtemp(join(tmpdir(), 'hoop-jenkins-'))
    // As workspaces are called whose job has a space in its name.
    workspace = join(folder, 'the workspace')
    built = await buildPlugins(folder)
    const subject = (stage: string): string =>
      `subjects: [{ issuer: jenkins, claims: { sub: "**/job/shop/", kid: hoop-${stage} } }]`
    const stages = ['test', 'deploy']
    stack = await startStack({
      prepare: (data) => built.offer(data),
      edit: (yaml) =>
        yaml
          .replace(
            'issuers:\n',
            `issuers:\n  jenkins: { platform: jenkins, url: "${oidc.url}", allow_private: true }\n`,
          )
          .replaceAll(/subjects: \[.*\]/g, () => subject(stages.shift() ?? '')),
    })
  })
  afterAll(async () => {
    await stack.close()
    await oidc.close()
    await rm(folder, { recursive: true, force: true })
  })

  /** The call's parameters, with those that every call has. */
  const given = (more: string): string => `gateway: '${stack.url}', ca: '${stack.gateway.pin}', ${more}`

  /** Runs a Jenkinsfile's steps as a new build; no token of any binding shows in the log or a step. */
  async function build(script: string, env: Record<string, string> = {}): Promise<Build> {
    number++
    const tokens = async (credential: string): Promise<string[]> =>
      Promise.all(
        [0, 1].map((second) =>
          oidc.issue(credential, { job: 'shop', number }, {}, { aud: stack.url, issuedIn: -second }),
        ),
      )
    const credentials = { 'hoop-test': await tokens('hoop-test'), 'hoop-deploy': await tokens('hoop-deploy') }
    const done = (await groovy('steps.groovy', [root, script, built.library], {
      env: { PATH: process.env.PATH, HOME: workspace, WORKSPACE_TMP: join(workspace, 'shop@tmp'), ...env },
      credentials,
    })) as Build
    const shown = done.log + done.calls.join('\n')
    for (const token of Object.values(credentials).flat()) expect(shown).not.toContain(token)
    expect(shown).not.toMatch(/PRIVATE KEY|eyJ[\w-]{20,}/)
    expect(done.layers).toBe(0)
    return done
  }

  async function ledger(): Promise<Record<string, unknown>[]> {
    const text = await readFile(join(stack.data, 'recordings/ledger.jsonl'), 'utf8')
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  async function expectNothingLeft(): Promise<void> {
    const events = await ledger()
    const made = events.filter(({ kind }) => kind === 'identity').map(({ identity }) => identity)
    const revoked = new Set(events.filter(({ kind }) => kind === 'revoked').map(({ identity }) => identity))
    expect(made.filter((identity) => !revoked.has(identity))).toEqual([])
    for (const agent of ['shop', 'one', 'two'])
      expect(await readdir(join(workspace, `${agent}@tmp`)).catch(() => [])).toEqual([])
  }

  const query = `sh 'psql -XAtc "SELECT 42, count(*) OVER (), email FROM customers"'`

  test('a block reaches the database, masked, and its identity ends with it', async () => {
    const { failure, log } = await build(
      `hoopAccess(${given("stage: 'test', connections: ['orders-db:read'], credentialsId: 'hoop-test'")}) {
        ${query}
        sh 'env'
      }
      sh 'echo after home=\${HOOP_HOME:-none} user=\${PGUSER:-none} token=\${HOOP_ID_TOKEN:-none}'`,
    )
    expect(failure).toBeNull()
    expect(log).toContain('42|2|')
    expect(log).not.toContain('ada.lovelace@example.com')
    expect(log).not.toContain('HOOP_ID_TOKEN=')
    expect(log).toContain('after home=none user=none token=none')
    expect((await ledger()).filter(({ kind }) => kind === 'identity').length).toBe(1)
    await expectNothingLeft()
  })

  test('a block within a block is narrower, and the outer one goes on after it', async () => {
    const { failure, log } = await build(
      `hoopAccess(${given("stage: 'deploy', credentialsId: 'hoop-deploy'")}) {
        hoopAccess(connections: ['orders-db:read']) {
          ${query}
          sh 'psql -XAtc "INSERT INTO orders VALUES (701, 1, 1)" || echo refused'
        }
        sh 'psql -XAtc "INSERT INTO orders VALUES (702, 1, 1)"'
      }`,
    )
    expect(failure).toBeNull()
    expect(log).toContain('42|2|')
    expect(log).toMatch(/narrowed[^]*refused/)
    expect(log).toContain('INSERT 0 1')
    expect(stack.postgres.log()).not.toContain('VALUES (701')
    expect(stack.postgres.log()).toContain('VALUES (702')
    expect(await stack.recorded('701')).not.toEqual([])
    const children = (await ledger()).filter(({ kind, parent }) => kind === 'identity' && parent !== null)
    expect(children.length).toBe(1)
    await expectNothingLeft()
  })

  test('a variable with a connection string leads through the gateway, in the nested block too', async () => {
    const { failure, log } = await build(
      `hoopAccess(${given("stage: 'test', credentialsId: 'hoop-test', env: [DATABASE_URL: 'orders-db']")}) {
        sh 'psql -XAt "$DATABASE_URL" -c "SELECT 43"; echo "outer $DATABASE_URL"'
        hoopAccess(connections: ['orders-db:read']) {
          sh 'psql -XAt "$DATABASE_URL" -c "SELECT 44"; echo "inner $DATABASE_URL"'
        }
      }`,
      { DATABASE_URL: 'postgres://ci:old@db.internal:5432/shop' },
    )
    expect(failure).toBeNull()
    expect(log).toMatch(/^43$/m)
    expect(log).toMatch(/^44$/m)
    const [outer, inner] = ['outer', 'inner'].map(
      (name) => new RegExp(`^${name} (\\S+)`, 'm').exec(log)?.[1] ?? '',
    )
    expect(outer).toContain('@localhost')
    expect(inner).not.toBe(outer)
    await expectNothingLeft()
  })

  test('hoop-access is a command in the block, and one that the agent has can be named', async () => {
    const named = `executable: '${process.execPath} ${executable}', `
    const { failure, log } = await build(
      `hoopAccess(${named}${given("stage: 'test', credentialsId: 'hoop-test'")}) {
        sh 'hoop-access exec -- psql -XAtc "SELECT 45"'
      }
      sh 'command -v hoop-access || echo none after it'`,
    )
    expect(failure).toBeNull()
    expect(log).toMatch(/^45$/m)
    expect(log).toContain('none after it')
    await expectNothingLeft()
  })

  test('a block that fails fails as it would, and its identity ends', async () => {
    const { failure } = await build(
      `hoopAccess(${given("stage: 'test', credentialsId: 'hoop-test'")}) { sh 'exit 3' }`,
    )
    expect(failure).toContain('script returned exit code 3')
    await expectNothingLeft()
  })

  test('two stages of one build, each by its own credential', async () => {
    const { failure, log } = await build(
      `stage('Test') { hoopAccess(${given("stage: 'test', credentialsId: 'hoop-test'")}) { sh 'echo as $HOOP_STAGE' } }
       stage('Deploy') { hoopAccess(${given("stage: 'deploy', credentialsId: 'hoop-deploy'")}) { sh 'echo as $HOOP_STAGE' } }`,
    )
    expect(failure).toBeNull()
    expect(log).toMatch(/^as test$/m)
    expect(log).toMatch(/^as deploy$/m)
    await expectNothingLeft()
  })

  test('a declarative pipeline: stages within one identity, each narrowed', async () => {
    const { failure, log } = await build(
      `pipeline {
        agent any
        stages {
          stage('All') {
            steps {
              hoopAccess(${given("stage: 'deploy', credentialsId: 'hoop-deploy'")}) {
                hoopAccess(connections: ['orders-db:read'], ttl: '1m') { sh 'psql -XAtc "SELECT 46"' }
                script {
                  hoopAccess(connections: ['orders-db:read']) {
                    hoopAccess(ttl: '1m') {
                      sh 'psql -XAtc "INSERT INTO orders VALUES (711, 1, 1)" || echo refused'
                    }
                  }
                }
              }
            }
          }
        }
      }`,
    )
    expect(failure).toBeNull()
    expect(log).toMatch(/^46$/m)
    expect(log).toMatch(/^refused$/m)
    expect(stack.postgres.log()).not.toContain('VALUES (711')
    await expectNothingLeft()
  })

  test('on another agent: a block of its own there, and the one around it goes on', async () => {
    const { failure, log } = await build(
      `node('one') {
        hoopAccess(${given("stage: 'deploy', credentialsId: 'hoop-deploy'")}) {
          sh 'echo outer $HOOP_STAGE'
          node('two') {
            hoopAccess(${given("stage: 'test', credentialsId: 'hoop-test'")}) {
              sh 'echo inner $HOOP_STAGE; psql -XAtc "SELECT 47"; case $HOOP_HOME in */two@tmp/*) echo there;; esac'
            }
          }
          sh 'echo again $HOOP_STAGE; psql -XAtc "SELECT 48"'
        }
      }`,
    )
    expect(failure).toBeNull()
    for (const line of ['outer deploy', 'inner test', '47', 'there', 'again deploy', '48'])
      expect(log.split('\n')).toContain(line)
    await expectNothingLeft()
  })

  test('on another agent without a credential: said, and the body does not run', async () => {
    const { failure, log } = await build(
      `node('one') {
        hoopAccess(${given("stage: 'deploy', credentialsId: 'hoop-deploy'")}) {
          node('two') { hoopAccess(connections: ['orders-db:read']) { echo 'ran' } }
        }
      }`,
    )
    expect(failure).toContain('another agent than the block around it')
    expect(log).not.toMatch(/^ran$/m)
    await expectNothingLeft()
  })

  test('what is in the environment of the block is paths and endpoints', async () => {
    const { log } = await build(
      `hoopAccess(${given("stage: 'test', credentialsId: 'hoop-test'")}) { sh 'env; ls -ld "$HOOP_HOME"' }`,
    )
    const names = log.split('\n').flatMap((line) => /^([A-Z_]+)=/.exec(line)?.[1] ?? [])
    expect(names).toEqual(expect.arrayContaining(['HOOP_HOME', 'HOOP_ACCESS', 'PGHOST']))
    expect(names.filter((name) => /TOKEN|PASSWORD|SECRET|PINS/.test(name))).toEqual([])
    expect(log).toMatch(/^drwx------.*hoop-/m)
  })

  test('the credential of one stage does not make another, and the body does not run', async () => {
    const { failure, log } = await build(
      `hoopAccess(${given("stage: 'deploy', credentialsId: 'hoop-test'")}) { echo 'ran' }`,
    )
    expect(failure).not.toBeNull()
    expect(log).toMatch(/claim kid must be ['"]hoop-deploy['"], and is ['"]hoop-test['"]/)
    expect(log).not.toMatch(/^ran$/m)
    await expectNothingLeft()
  })

  test('the same credential a second time in a build is refused: a build has one root for each', async () => {
    const block = `hoopAccess(${given("stage: 'test', credentialsId: 'hoop-test'")}) { echo 'ran' }`
    const { failure, log } = await build(`${block}\n${block}`)
    expect(failure).not.toBeNull()
    expect(log.match(/^ran$/gm)).toHaveLength(1)
    expect(log).toContain('already has identity')
    await expectNothingLeft()
  })

  test.for([
    ["stage: 'test'", 'credentialsId is missing'],
    ["stage: 'te$(id)st', credentialsId: 'hoop-test'", 'stage cannot be'],
    ["stage: 'test', credentialsId: 'hoop-test', connections: 'orders-db'", 'connections is a list'],
    ["stage: 'test', credentialsId: 'hoop-test', connections: ['a;id']", 'connections cannot hold'],
    ["stage: 'test', credentialsId: 'hoop-test', env: [A: 'b c']", 'env cannot hold'],
    ["stage: 'test', credentialsId: 'hoop-test', pins: '$(id)'", 'pins cannot be'],
    ["stage: 'test', credentialsId: 'hoop-test', conections: []", 'there is no parameter "conections"'],
  ])('a call with %s is refused before any step', async ([call, why]) => {
    const { failure, calls } = await build(`hoopAccess(${given(String(call))}) { echo 'ran' }`)
    expect(failure).toContain(why)
    expect(calls).toEqual([])
  })

  test('on a Windows agent, by bat', async () => {
    const { failure, calls, log } = (await groovy(
      'steps.groovy',
      [
        root,
        `hoopAccess(gateway: 'https://hoop.acme.example', stage: 'test', credentialsId: 'hoop-test') { echo 'in ' + env.PGHOST + ' ' + env.HOOP_HOME; echo env.HOOP_ACCESS }`,
        built.library,
      ],
      {
        env: { WORKSPACE_TMP: String.raw`C:\agent\the shop@tmp` },
        credentials: { 'hoop-test': ['a-token'] },
        windows: true,
      },
    )) as Build
    expect(failure).toBeNull()
    const commands = calls.filter((call) => call.startsWith('bat'))
    expect(calls).toContain(String.raw`writeFile C:\agent\the shop@tmp\hoop-access-fetch.cjs`)
    expect(commands).toHaveLength(5)
    expect(commands[0]).toBe('bat @node "%HOOP_ACCESS_FETCH%"')
    expect(commands[1]).toContain('call %HOOP_ACCESS% open')
    expect(commands[3]).toContain('call %HOOP_ACCESS% close')
    expect(commands[4]).toBe('bat @rmdir /s /q "%HOOP_ACCESS_FOLDER%"')
    expect(log).toContain(String.raw`"C:\agent\tmp\hoop-access-1\bin\hoop-access.cmd"`)
  })
})
