import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { approvalView, approvedBy } from '../fakes/approval.ts'
import { type GatewayApi, type GatewayApiOptions, ordersDb, startGatewayApi } from '../fakes/gateway-api.ts'
import { lacks } from '../servers/programs.ts'
import { type Run, start, startAtTerminal } from './executable.ts'

let api: GatewayApi
let temp: string
beforeEach(async () => {
  temp = await mkdtemp(join(tmpdir(), 'exec-test-'))
})
afterEach(async () => {
  await api.close()
  // What `open` left to renew may be writing still.
  await rm(temp, { recursive: true, force: true, maxRetries: 10 })
  expect(api.violations).toEqual([])
})

const printEnvironment = ['node', '-e', 'process.stdout.write(JSON.stringify(process.env))']

/** An identity in force, and `exec` under it. */
async function open(options: GatewayApiOptions = {}): Promise<Record<string, string>> {
  api = await startGatewayApi(options)
  const base = { HOOP_GATEWAY: api.url, HOOP_CA: api.pin, HOOP_ID_TOKEN: 'a.b.c', RUNNER_TEMP: temp }
  const run = start(
    ['open', '--stage', 'deploy', '--platform', 'token', '--env', 'DATABASE_URL=orders-db'],
    base,
  )
  expect(await run.code, run.stderr()).toBe(0)
  const home = run.stdout().trim()
  expect(home.startsWith(join(temp, 'hoop-'))).toBe(true)
  const variables = start(['env', '--format', 'json'], { ...base, HOOP_HOME: home })
  expect(await variables.code, variables.stderr()).toBe(0)
  return { ...base, ...JSON.parse(variables.stdout()) }
}

function exec(
  environment: Record<string, string>,
  command: readonly string[],
  options: readonly string[] = [],
): Run {
  return start(['exec', ...options, '--', ...command], environment, undefined, true)
}

/** Nothing of a child is left: its identity has ended, and its folder is gone. */
async function expectEnded(parentHome: string | undefined): Promise<void> {
  const [parent, ...children] = api.identities
  expect(parent?.revoked).toBe(false)
  expect(children.map(({ revoked }) => revoked)).toEqual(children.map(() => true))
  expect(children.length).toBeGreaterThan(0)
  expect((await readdir(temp)).map((name) => join(temp, name))).toEqual([parentHome])
}

describe('the child', () => {
  test('is a narrower identity with a key of its own, which ends with the command', async () => {
    const environment = await open()
    const run = exec(environment, ['true'], ['--connections', 'orders-db:read', '--ttl', '5m'])
    expect(await run.code, run.stderr()).toBe(0)
    const [parent, child] = api.identities
    expect(child).toMatchObject({ parent: parent?.id, scope: 'connection:orders-db:read' })
    expect(child?.thumbprint).not.toBe(parent?.thumbprint)
    await expectEnded(environment.HOOP_HOME)
  })

  test('sees its own settings, nothing of its parent’s and no platform token', async () => {
    const environment = await open()
    const secrets = {
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'platform-secret-1',
      ACTIONS_ID_TOKEN_REQUEST_URL: 'https://platform-secret-2',
      ACTIONS_RUNTIME_TOKEN: 'platform-secret-3',
      CI_JOB_TOKEN: 'platform-secret-4',
      GITHUB_TOKEN: 'platform-secret-5',
      VAULT_ID_TOKEN: 'platform-secret-6',
      NODE_AUTH_TOKEN: 'platform-secret-5-long-enough',
      GH_TOKEN: 'platform-secret-5-long-enough',
      CI_REPOSITORY_URL: 'https://gitlab-ci-token:platform-secret-4@gitlab.example/a.git',
      MY_REMOTE: 'https://x:platform-secret-10-of-gitlab@gitlab.example/a.git',
      CI_REGISTRY_PASSWORD: 'platform-secret-10-of-gitlab',
      CIRCLE_OIDC_TOKEN_V2: 'platform-secret-11',
      JENKINS_SECRET: 'platform-secret-12',
      CREDENTIAL: tokenFor(environment.HOOP_GATEWAY ?? ''),
      SSH_AUTH_SOCK: '/tmp/platform-secret-13',
      HOOP_OPERATOR_TOKEN: 'platform-secret-7',
      HOOP_TOKEN: 'platform-secret-8',
      PGPASSWORD: 'platform-secret-9',
      COPIED: `${environment.HOOP_HOME}/client.key`,
    }
    const elsewhere = tokenFor('https://elsewhere.example')
    const run = exec({ ...environment, ...secrets, MINE: 'kept', ELSEWHERE: elsewhere }, printEnvironment)
    expect(await run.code, run.stderr()).toBe(0)
    const seen: Record<string, string> = JSON.parse(run.stdout())
    expect(run.stdout()).not.toContain('platform-secret')
    expect(run.stdout()).not.toContain(secrets.CREDENTIAL)
    expect(seen.ELSEWHERE).toBe(elsewhere)
    expect(run.stdout()).not.toContain('a.b.c')
    expect(run.stdout()).not.toContain(environment.HOOP_HOME)
    expect(seen).toMatchObject({ MINE: 'kept', PGUSER: 'orders-db', HOOP_STAGE: 'deploy' })
    expect(seen.HOOP_HOME).not.toBe(environment.HOOP_HOME)
    expect(seen.DATABASE_URL).toContain(`${seen.HOOP_HOME}/client.key`)
    expect(seen.PGSSLKEY).toBe(`${seen.HOOP_HOME}/client.key`)
  })

  test('gets no variable for a connection that it was not given', async () => {
    const environment = await open({ connections: [ordersDb, { ...ordersDb, name: 'reports' }] })
    const run = exec(environment, printEnvironment, ['--connections', 'reports'])
    expect(await run.code, run.stderr()).toBe(0)
    const seen: Record<string, string> = JSON.parse(run.stdout())
    expect(seen.DATABASE_URL).toBeUndefined()
    expect(seen.PGUSER).toBe('reports')
  })

  test('may keep GITHUB_TOKEN when asked to, and never what is worth the whole job’s identity', async () => {
    const environment = { ...(await open()), GITHUB_TOKEN: 'kept', ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'x' }
    const run = exec(environment, printEnvironment, ['--keep-env', 'GITHUB_TOKEN'])
    expect(await run.code).toBe(0)
    expect(JSON.parse(run.stdout())).toMatchObject({ GITHUB_TOKEN: 'kept' })
    const refused = exec(environment, ['true'], ['--keep-env', 'ACTIONS_ID_TOKEN_REQUEST_TOKEN'])
    expect(await refused.code).toBe(125)
    expect(refused.stderr()).toContain('cannot be kept')
  })

  test('has files of its own that the parent’s end does not need, readable by its owner only', async () => {
    const environment = await open()
    const run = exec(environment, ['sh', '-c', 'ls -l "$HOOP_HOME"; stat -c %a "$HOOP_HOME"'])
    expect(await run.code).toBe(0)
    expect(run.stdout()).toMatch(/\n700\n$/)
    expect(run.stdout().match(/^-rw-------/gm)?.length).toBe(9)
  })

  test('without an identity in force is the job’s own', async () => {
    api = await startGatewayApi()
    const run = exec(
      { HOOP_GATEWAY: api.url, HOOP_CA: api.pin, HOOP_ID_TOKEN: 'a.b.c', RUNNER_TEMP: temp },
      printEnvironment,
      ['--stage', 'test', '--platform', 'token'],
    )
    expect(await run.code, run.stderr()).toBe(0)
    expect(api.identities).toMatchObject([{ parent: null, stage: 'test', revoked: true }])
    expect(run.stdout()).not.toContain('a.b.c')
    expect(await readdir(temp)).toEqual([])
  })
})

describe('exit codes', () => {
  test.for([0, 1, 3, 42])('the command’s own %d passes', async (code) => {
    const environment = await open()
    expect(await exec(environment, ['sh', '-c', `exit ${code}`]).code).toBe(code)
    await expectEnded(environment.HOOP_HOME)
  })

  test('a command ended by a signal gives 128 and its number', async () => {
    const environment = await open()
    expect(await exec(environment, ['sh', '-c', 'kill -KILL $$']).code).toBe(137)
    await expectEnded(environment.HOOP_HOME)
  })

  test('not found is 127, not executable 126, and the identity ends all the same', async () => {
    const environment = await open()
    expect(await exec(environment, ['no-such-command']).code).toBe(127)
    const file = join(temp, 'plain')
    await writeFile(file, '')
    expect(await exec(environment, [file]).code).toBe(126)
    await rm(file)
    await expectEnded(environment.HOOP_HOME)
  })

  test.for([
    ['an unknown option', ['--nonsense'], /unknown option/],
    ['a ttl that is none', ['--ttl', 'soon'], /not a duration/],
    ['a connection that is none', ['--connections', 'a b:c:d'], /not a connection/],
  ] as const)('%s is its own failure: 125, and the command does not run', async ([, options, why]) => {
    const environment = await open()
    const run = exec(environment, ['sh', '-c', 'echo ran'], options)
    expect(await run.code).toBe(125)
    expect(run.stderr()).toMatch(why)
    expect(run.stdout()).toBe('')
    expect(api.identities.length).toBe(1)
  })

  test('a refusal is 125, told with what to do next, and not tried again', async () => {
    const environment = await open()
    api.fail('/oauth/token', {
      status: 400,
      body: { error: 'invalid_scope', error_description: 'too wide', next: 'ask for less' },
    })
    const before = api.requests.length
    const run = exec(environment, ['sh', '-c', 'echo ran'])
    expect(await run.code).toBe(125)
    expect(run.stderr()).toContain('too wide\n  next: ask for less')
    expect(run.stdout()).toBe('')
    expect(api.requests.slice(before)).toEqual(['POST /oauth/token'])
  })
})

describe('signals', () => {
  test.for(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const)(
    '%s is passed on',
    async (signal) => {
      const environment = await open()
      const name = signal.slice(3)
      const run = exec(environment, [
        'sh',
        '-c',
        `trap 'echo got ${name}; exit 7' ${name}; echo up; while :; do sleep 0.05; done`,
      ])
      await run.seen('up')
      run.child.kill(signal)
      expect(await run.code).toBe(7)
      expect(run.stdout()).toContain(`got ${name}`)
      await expectEnded(environment.HOOP_HOME)
    },
  )

  test('one that the command sends with its first breath comes back to it', async () => {
    const environment = await open()
    const script = `trap 'exit 7' USR2; kill -USR2 $PPID; for n in 1 2 3 4 5 6 7 8 9; do sleep 0.1; done`
    for (let round = 0; round < 5; round++) {
      expect(await exec(environment, ['sh', '-c', script]).code).toBe(7)
    }
    await expectEnded(environment.HOOP_HOME)
  })

  test.skipIf(process.platform !== 'linux' || lacks('script', 'perl'))(
    'Ctrl-C at a terminal reaches the command once, whatever its standard input is',
    async () => {
      const environment = await open()
      // Safe signals count those that come one after the other; a second one would come within milliseconds.
      const count = `$| = 1; $SIG{INT} = sub { print "got INT\n" }; print "up\n"; select undef, undef, undef, 0.1 for 1..15; print "end\n"`
      const run = startAtTerminal(['exec', '--', 'perl', '-e', count], environment)
      await run.seen('up')
      run.type('\u0003')
      expect(await run.code).toBe(0)
      expect(run.stdout().match(/got INT/g)).toEqual(['got INT'])
      await expectEnded(environment.HOOP_HOME)
    },
  )

  test('a command that a passed-on signal kills gives 128 and its number', async () => {
    const environment = await open()
    const run = exec(environment, ['sh', '-c', 'echo up; exec sleep 60'])
    await run.seen('up')
    run.child.kill('SIGTERM')
    expect(await run.code).toBe(128 + constants.signals.SIGTERM)
    await expectEnded(environment.HOOP_HOME)
  })

  test('a command that ignores the signal goes on, and the wrapper with it', async () => {
    const environment = await open()
    const run = exec(environment, ['sh', '-c', "trap '' TERM; echo up; sleep 0.7; exit 5"])
    await run.seen('up')
    run.child.kill('SIGTERM')
    expect(await run.code).toBe(5)
  })

  test('one that comes while the identity ends does not keep it from ending', async () => {
    const environment = await open()
    api.fail('/oauth/revoke', { status: 503, body: {} })
    const run = exec(environment, ['sh', '-c', 'echo up'])
    await run.seen('up')
    for (let round = 0; round < 20 && !api.requests.includes('POST /oauth/revoke'); round++) {
      await new Promise((done) => setTimeout(done, 20))
    }
    run.child.kill('SIGTERM')
    await run.code
    await expectEnded(environment.HOOP_HOME)
  })

  test('one that comes before the command runs ends the preparation', async () => {
    const environment = await open()
    api.fail('/oauth/token', { status: 503, headers: { 'retry-after': '5' }, body: {} })
    const run = exec(environment, ['sh', '-c', 'echo ran'])
    for (
      let round = 0;
      round < 200 && api.requests.filter((one) => one === 'POST /oauth/token').length < 2;
      round++
    ) {
      await new Promise((done) => setTimeout(done, 20))
    }
    run.child.kill('SIGTERM')
    expect(await run.code).toBe(125)
    expect(run.stdout()).toBe('')
    expect(run.stderr()).toContain('interrupted by SIGTERM')
    expect((await readdir(temp)).length).toBe(1)
  })
})

describe('while the command runs', () => {
  test('the identity is renewed in time, and the files follow', async () => {
    const environment = await open({ ttl: 3 })
    const script = 'cat "$HOOP_HOME/token"; sleep 2.8; cat "$HOOP_HOME/token"'
    const run = exec(environment, ['sh', '-c', script])
    expect(await run.code, run.stderr()).toBe(0)
    const [before, after] = run.stdout().trim().split('\n')
    expect(before).not.toBe(after)
    expect(api.identities[1]?.renewals).toBeGreaterThan(0)
    expect(api.identities[1]?.tokens).toContain(after)
  })

  test('a wait is shown with link, rule and deadline, and what came of it', async () => {
    const environment = await open()
    const approval = approvalView()
    const run = exec(environment, ['sh', '-c', 'echo up; sleep 5.5'])
    await run.seen('up')
    api.activity.approvals.push(approval)
    await run.seen(`${approval.url}`)
    expect(run.stderr()).toContain(
      'waiting for dba to approve drop public.legacy on orders-db until 12:34:56 UTC (rule deploy/orders-db approve[0])',
    )
    approval.state = 'used'
    approval.answers.push(approvedBy('alice', 'empty'))
    expect(await run.code).toBe(0)
    expect(run.stderr()).toContain('apr_1 approved by alice (empty)')
    expect(run.stderr().match(/waiting for/g)?.length).toBe(1)
  })

  test('with --json what is told is one object a line, and standard output stays the command’s', async () => {
    const environment = await open()
    const approval = approvalView()
    const asked = structuredClone(approval)
    const run = exec(environment, ['sh', '-c', 'echo up; sleep 5.5'], ['--json'])
    await run.seen('up')
    api.activity.approvals.push(approval)
    await run.seen(approval.url)
    approval.state = 'denied'
    expect(await run.code).toBe(0)
    expect(run.stdout()).toBe('up\n')
    const told = run
      .stderr()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(told).toEqual([
      { message: expect.stringContaining('waiting for dba'), approval: asked },
      { message: 'apr_1 denied', approval },
    ])

    const refused = exec(environment, ['true'], ['--json', '--ttl', 'soon'])
    expect(await refused.code).toBe(125)
    expect(JSON.parse(refused.stderr())).toEqual({
      message: expect.any(String),
      error: 'wrong_usage',
      next: expect.any(String),
    })
  })

  test('a wait that is too long ends the command with 4', async () => {
    const environment = await open()
    api.activity.approvals.push(approvalView())
    const run = exec(environment, ['sleep', '60'], ['--approval-timeout', '1s'])
    expect(await run.code).toBe(4)
    expect(run.stderr()).toContain('nobody answered apr_1 in time')
  })
})

describe('close', () => {
  test('revokes, and removes the folder', async () => {
    const environment = await open()
    const run = start(['close'], environment)
    expect(await run.code, run.stderr()).toBe(0)
    expect(api.identities[0]?.revoked).toBe(true)
    expect(existsSync(environment.HOOP_HOME ?? '')).toBe(false)
  })

  test('removes the folder also when the gateway is gone', async () => {
    const environment = await open()
    await api.close()
    const run = start(['close'], { ...environment })
    expect(await run.code).toBe(1)
    expect(existsSync(environment.HOOP_HOME ?? '')).toBe(false)
  })
})

test('open prints no secret, and a fresh ID token is read for every attempt', async () => {
  api = await startGatewayApi()
  api.fail('/oauth/token', { status: 503, body: {} }, { status: 502, body: {} })
  await mkdir(join(temp, 'x'))
  const environment = {
    HOOP_GATEWAY: api.url,
    HOOP_CA: api.pin,
    HOOP_ID_TOKEN: 'a.b.c',
    RUNNER_TEMP: join(temp, 'x'),
  }
  const run = start(['open', '--stage', 'test', '--platform', 'token', '--json'], environment)
  expect(await run.code, run.stderr()).toBe(0)
  expect(api.idTokens.length).toBe(3)
  expect(api.identities.length).toBe(1)
  const shown = `${run.stdout()}${run.stderr()}`
  expect(shown).not.toContain('a.b.c')
  expect(shown).not.toContain(api.identities[0]?.tokens[0])
})

/** What a platform's ID token looks like. */
function tokenFor(aud: string): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'RS256' })}.${part({ iss: 'https://ci.example', aud })}.${part({ signed: 'so' })}`
}
