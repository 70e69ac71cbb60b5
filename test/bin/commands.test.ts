import { execFileSync } from 'node:child_process'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { startGatewayApi } from '../fakes/gateway-api.ts'
import { start } from './executable.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'commands-test-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const config = `
gateway: { url: "https://hoop.acme.example:8443" }
issuers: { github: { platform: github, url: "https://token.actions.githubusercontent.com" } }
connections: { orders-db: { type: postgres, host: db.internal, database: shop, user: ci, password: "\${NOT_SET}" } }
stages:
  deploy:
    subjects: [{ issuer: github, claims: { repository_id: "1", ref: "refs/heads/main" } }]
    delegates: [migrate]
    grants:
      - connection: orders-db
        allow: [{ operations: [read, insert], resources: ["public.*"] }]
        approve: [{ operations: [ddl, delete], by: dba }]
  migrate: { grants: [{ connection: orders-db, approve: [{ operations: [ddl], by: dba }] }] }
people: { alice: { github: 1 } }
approvers: { dba: { members: [alice], gates: [{ console: {} }] } }
`

test('wrong usage exits 2, help and version 0', async () => {
  expect(await start(['nonsense']).code).toBe(2)
  expect(await start(['open', '--nonsense']).code).toBe(2)
  expect(await start(['open']).code).toBe(2)
  expect(await start(['--help']).code).toBe(0)
  const version = start(['--version'])
  expect(await version.code).toBe(0)
  expect(version.stdout()).toMatch(/^\d+\.\d+\.\d+\n$/)
})

test('a reader that has gone is no fault', async () => {
  const run = start(['--help'])
  run.child.stdout?.destroy()
  expect(await run.code).toBe(0)
  expect(run.stderr()).toBe('')
})

describe('policy', () => {
  beforeEach(() => writeFile(join(folder, 'hoop.yaml'), config))
  const policy = (...args: string[]) => start(['policy', ...args], {}, folder)

  test('check needs no secrets, and says where a fault is', async () => {
    expect(await policy('check').code).toBe(0)
    await writeFile(join(folder, 'hoop.yaml'), config.replace('read, insert', 'raed'))
    const bad = policy('check')
    expect(await bad.code).toBe(1)
    expect(bad.stdout()).toMatch(/^hoop\.yaml:11:\d+ .*raed/)
  })

  test.for([
    [['--stage', 'deploy', '--sql', 'SELECT * FROM orders'], 0, /allow.*deploy\/orders-db allow\[0\]/s],
    [['--stage', 'deploy', '--sql', 'DROP TABLE orders'], 0, /approve by dba/],
    [
      ['--stage', 'deploy', '--sql', 'SELECT 1; UPDATE orders SET total = 0'],
      3,
      /why: .*update without WHERE on public\.orders/,
    ],
    [['--stage', 'deploy>migrate', '--sql', 'SELECT * FROM orders'], 3, /stage migrate/],
    [['--stage', 'deploy', '--operation', 'delete', '--resource', 'public.orders'], 0, /approve by dba/],
  ] as const)('explain %j exits %d and names the rule', async ([args, code, text]) => {
    const run = policy('explain', '--connection', 'orders-db', ...args)
    expect(await run.code, run.stderr()).toBe(code)
    expect(run.stdout()).toMatch(text)
  })
})

describe('doctor', () => {
  test('finds a set-up good, from the identity in force', async () => {
    const api = await startGatewayApi()
    const base = { HOOP_GATEWAY: api.url, HOOP_CA: api.pin, HOOP_ID_TOKEN: 'a.b.c', RUNNER_TEMP: folder }
    const open = start(['open', '--stage', 'test', '--platform', 'token'], base)
    await open.code
    const HOOP_HOME = open.stdout().trim()
    const run = start(['doctor', '--json'], { ...base, HOOP_HOME })
    expect(await run.code, run.stdout()).toBe(0)
    const findings: { check: string; state: string }[] = JSON.parse(run.stdout())
    expect(findings.filter(({ state }) => state === 'bad')).toEqual([])
    expect(findings.map(({ check }) => check)).toEqual(
      expect.arrayContaining(['Gateway', 'Clock', 'Identity', 'Private folder']),
    )
    const around = start(['doctor'], {
      ...base,
      HOOP_HOME,
      PGHOST: 'db.internal',
      ORDERS: 'postgres://ci:pw@db.internal/shop',
    })
    expect(await around.code).toBe(1)
    expect(around.stdout()).toContain('✗ Variables      PGHOST leads around the gateway')
    expect(around.stdout()).toContain('✗ Variables      ORDERS leads around the gateway')
    expect(around.stdout()).not.toContain('pw@')
    const shown = start(['env', '--format', 'json'], { ...base, HOOP_HOME })
    expect(await shown.code).toBe(0)
    await chmod(join(HOOP_HOME, 'client.key'), 0o644)
    const misled = start(['doctor'], { ...base, ...JSON.parse(shown.stdout()), PGSSLMODE: 'disable' })
    expect(await misled.code).toBe(1)
    expect(misled.stdout()).toContain('✗ Variables      PGSSLMODE is not what the gateway is reached by')
    expect(misled.stdout()).toMatch(/✗ Private folder .*client\.key can be read by others/)
    await api.close()
  })

  test('names the fix for a missing permission, a wrong pin and a gateway that is not there', async () => {
    const api = await startGatewayApi()
    const permission = start(['doctor', '--platform', 'github'], { HOOP_GATEWAY: api.url, HOOP_CA: api.pin })
    expect(await permission.code).toBe(1)
    expect(permission.stdout()).toContain('id-token: write')
    const pin = start(['doctor'], { HOOP_GATEWAY: api.url, HOOP_CA: `sha256:${'A'.repeat(43)}=` })
    expect(await pin.code).toBe(1)
    expect(pin.stdout()).toContain('no certificate with the pinned key')
    await api.close()
    const gone = start(['doctor'], { HOOP_GATEWAY: api.url, HOOP_CA: api.pin })
    expect(await gone.code).toBe(1)
    expect(gone.stdout()).toContain('ECONNREFUSED')
  })

  test('sends the ID token nowhere', async () => {
    const api = await startGatewayApi()
    const token = `a.${Buffer.from(JSON.stringify({ aud: api.url, iss: 'x' })).toString('base64url')}.c`
    const run = start(['doctor', '--platform', 'token'], {
      HOOP_GATEWAY: api.url,
      HOOP_CA: api.pin,
      HOOP_ID_TOKEN: token,
    })
    expect(await run.code, run.stdout()).toBe(0)
    expect(api.requests.every((request) => request === 'GET /healthz')).toBe(true)
    await api.close()
  })
})

describe('completion', () => {
  test('bash completes commands, subcommands and options', async () => {
    const run = start(['completion', 'bash'])
    expect(await run.code).toBe(0)
    const complete = (...words: string[]): string[] => {
      const script = `${run.stdout()}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hoop_access; printf '%s\\n' "\${COMPREPLY[@]}"`
      return execFileSync('bash', ['-c', script, 'bash', ...words], { encoding: 'utf8' })
        .trim()
        .split('\n')
    }
    expect(complete('hoop-access', 'ap')).toEqual(['approvals'])
    expect(complete('hoop-access', 'approvals', '')).toEqual(
      expect.arrayContaining(['list', 'show', 'approve', 'deny']),
    )
    expect(complete('hoop-access', 'open', '--st')).toEqual(['--stage'])
    expect(complete('hoop-access', 'exec', '--', 'x')).toEqual([''])
    // What an option takes is no command, though it may be called like one.
    expect(complete('hoop-access', 'open', '--stage', 'test', '--tt')).toEqual(['--ttl'])
    expect(complete('hoop-access', 'exec', '--stage', 'env', '--sand')).toEqual(['--sandbox'])
    expect(complete('hoop-access', 'open', '--platform', 'git')).toEqual(['github', 'gitlab'])
    expect(complete('hoop-access', 'env', '--format', 'd')).toEqual(['dotenv', 'docker'])
    expect(complete('hoop-access', 'client', '')).toContain('build')
    // What people have no use for is not offered.
    expect(complete('hoop-access', 'ren')).toEqual([''])
  })

  test.for(['zsh', 'fish'])('%s has a script, another shell is wrong usage', async (shell) => {
    const run = start(['completion', shell])
    expect(await run.code).toBe(0)
    expect(run.stdout()).toContain('approvals')
    expect(await start(['completion', 'tcsh']).code).toBe(2)
  })
})
