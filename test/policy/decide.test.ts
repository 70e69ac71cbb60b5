import { describe, expect, test } from 'vitest'
import type { Operation } from '../../gateway/core/operation.ts'
import { compilePolicy } from '../../gateway/policy/compile.ts'
import type { Decision } from '../../gateway/policy/policy.ts'
import { config, decide, operation, policyOf } from './fixtures.ts'

const read = { operations: ['read'] }
const approveBy = (by: string, rule: Record<string, unknown>) => ({ ...rule, by })

function outcome(decision: Decision): string {
  return decision.effect === 'approve' ? `approve by ${decision.by.join('+')}` : decision.effect
}

describe('one level: deny beats approve beats allow, and nothing is allowed that no rule allows', () => {
  const rules = { allow: [read], approve: [approveBy('dba', read)], deny: [read] }
  const table: [string, (keyof typeof rules)[], string][] = [
    ['no rule', [], 'deny'],
    ['allow', ['allow'], 'allow'],
    ['approve', ['approve'], 'approve by dba'],
    ['deny', ['deny'], 'deny'],
    ['allow and approve', ['allow', 'approve'], 'approve by dba'],
    ['allow and deny', ['allow', 'deny'], 'deny'],
    ['approve and deny', ['approve', 'deny'], 'deny'],
    ['all three', ['allow', 'approve', 'deny'], 'deny'],
  ]
  test.each(table)('%s', (_name, effects, expected) => {
    const policy = policyOf({ s: Object.fromEntries(effects.map((effect) => [effect, rules[effect]])) })
    expect(outcome(decide(policy, ['s'], [operation('select')]))).toBe(expected)
    // Whatever the rules say of reading, they say nothing of writing.
    expect(outcome(decide(policy, ['s'], [operation('insert')]))).toBe('deny')
  })
})

describe('operations', () => {
  const allowing = (...operations: string[]) => policyOf({ s: { allow: [{ operations }] } })
  const allows = (policy: ReturnType<typeof allowing>, of: Operation): boolean =>
    decide(policy, ['s'], [of]).effect === 'allow'

  test('a group names all of its commands, a command only itself', () => {
    expect(allows(allowing('write'), operation('delete'))).toBe(true)
    expect(allows(allowing('delete'), operation('delete'))).toBe(true)
    expect(allows(allowing('delete'), operation('update'))).toBe(false)
    expect(allows(allowing('drop'), operation('drop-table'))).toBe(true)
    expect(allows(allowing('read', 'insert'), operation('insert'))).toBe(true)
  })

  test('a kind of object goes by its name in the manual or in the grammar', () => {
    for (const name of ['drop-materialized-view', 'drop-matview']) {
      for (const named of ['drop-materialized-view', 'drop-matview']) {
        expect(
          allows(allowing(name), { actions: [named, 'drop', 'ddl'], resource: 'a.b', reads: false }),
        ).toBe(true)
      }
      expect(allows(allowing(name), operation('drop-table'))).toBe(false)
    }
  })

  test('`*` is everything but probe, which has to be named', () => {
    const probe = operation('probe', 'public.customers.email')
    expect(allows(allowing('*'), operation('drop-table'))).toBe(true)
    expect(allows(allowing('*'), probe)).toBe(false)
    expect(allows(allowing('*', 'probe'), probe)).toBe(true)
    expect(allows(allowing('probe'), probe)).toBe(true)
    expect(allows(allowing('probe'), operation('select'))).toBe(false)
    const denied = policyOf({ s: { allow: [{ operations: ['probe'] }], deny: [{ operations: ['*'] }] } })
    expect(outcome(decide(denied, ['s'], [probe]))).toBe('allow')
  })

  test('every operation of a request must pass, and the strictest outcome is the outcome', () => {
    const policy = policyOf({ s: { allow: [read], approve: [approveBy('dba', { operations: ['delete'] })] } })
    expect(outcome(decide(policy, ['s'], [operation('select'), operation('delete')]))).toBe('approve by dba')
    expect(outcome(decide(policy, ['s'], [operation('delete'), operation('select')]))).toBe('approve by dba')
    const refused = decide(policy, ['s'], [operation('delete'), operation('select'), operation('insert')])
    expect(refused).toMatchObject({ effect: 'deny', operation: { actions: ['insert', 'write'] } })
  })

  test('a request that does nothing needs the grant alone', () => {
    const policy = policyOf({ s: {}, t: null })
    expect(decide(policy, ['s'], [])).toEqual({ effect: 'allow', rule: 's/db' })
    expect(decide(policy, ['t'], []).effect).toBe('deny')
    expect(decide(policy, ['none'], []).effect).toBe('deny')
    expect(decide(policy, ['s', 't'], []).effect).toBe('deny')
    expect(decide(policy, [], []).effect).toBe('deny')
    expect(decide(policy, [], [operation('select')]).effect).toBe('deny')
  })

  test('`unbounded: true` is only what has no WHERE', () => {
    const policy = policyOf({
      s: {
        allow: [{ operations: ['update'] }],
        approve: [approveBy('dba', { operations: ['update'], unbounded: true })],
      },
    })
    expect(outcome(decide(policy, ['s'], [operation('update')]))).toBe('allow')
    expect(outcome(decide(policy, ['s'], [operation('update', 'public.a', { unbounded: false })]))).toBe(
      'allow',
    )
    expect(outcome(decide(policy, ['s'], [operation('update', 'public.a', { unbounded: true })]))).toBe(
      'approve by dba',
    )
  })
})

describe('resources', () => {
  const effect = (
    connection: string,
    rule: object,
    of: Operation,
    as: 'allow' | 'deny' = 'allow',
  ): string => {
    const grant =
      as === 'deny' ? { allow: [{ operations: ['*', 'probe'] }], deny: [rule] } : { allow: [rule] }
    return outcome(decide(policyOf({ s: { connection, ...grant } }), ['s'], [of], { connection }))
  }
  const sql = (pattern: string, resource: string): string =>
    effect('db', { operations: ['read'], resources: [pattern] }, operation('select', resource))
  const http = (pattern: string, path: string): string =>
    effect('api', { operations: ['GET'], resources: [pattern] }, operation('GET', path))
  const k8s = (rule: object, of: Partial<Operation>, as?: 'deny'): string =>
    effect('k8s', { operations: ['get'], ...rule }, operation('get', 'pods', of), as)

  test('absent resources are all of the connection; an operation without one matches only `*`', () => {
    expect(effect('db', { operations: ['read'] }, operation('select', 'x.y'))).toBe('allow')
    expect(sql('*', '')).toBe('allow')
    expect(sql('*.*', '')).toBe('deny')
    expect(sql('public.*', '')).toBe('deny')
  })

  test('in SQL `*` stays within a part, and dots in quotes are no separators', () => {
    expect(sql('public.*', 'public.orders')).toBe('allow')
    expect(sql('*.orders', 'public.orders')).toBe('allow')
    expect(sql('public.order*', 'public.orders')).toBe('allow')
    expect(sql('public.*', 'publicx.orders')).toBe('deny')
    expect(sql('public.orders', 'public.Orders')).toBe('deny')
    expect(sql('public.*', 'public.a.b')).toBe('deny')
    expect(sql('public.*', 'public."a.b"')).toBe('allow')
    expect(sql('public."a.b"', 'public."a.b"')).toBe('allow')
    expect(sql('public.*', '"public.x".y')).toBe('deny')
    expect(sql('*.y', '"public.x".y')).toBe('allow')
    expect(sql('public."*"', 'public.x')).toBe('deny')
    expect(sql('public."*"', 'public."*"')).toBe('allow')
  })

  test('in paths `*` is within a segment and `**` crosses', () => {
    expect(http('/v1/invoices/*', '/v1/invoices/7')).toBe('allow')
    expect(http('/v1/invoices/*', '/v1/invoices/7/lines')).toBe('deny')
    expect(http('/v1/**', '/v1/invoices/7/lines')).toBe('allow')
    expect(http('/v1/**', '/v1')).toBe('deny')
    expect(http('/v1/*/lines', '/v1/7/lines')).toBe('allow')
    expect(http('/**/lines', '/v1/invoices/7/lines')).toBe('allow')
    expect(http('**', '/anything')).toBe('allow')
    expect(http('/v1/a.b', '/v1/aXb')).toBe('deny')
  })

  test('a deny of one part of a schema is a deny of the whole of it, and of a column that cannot be told', () => {
    const deny = (pattern: string, of: Operation): string =>
      effect('db', { operations: ['*', 'probe'], resources: [pattern] }, of, 'deny')
    expect(deny('secrets.keys', operation('drop-schema', 'secrets.*'))).toBe('deny')
    expect(deny('secrets.keys', operation('drop-schema', 'public.*'))).toBe('allow')
    expect(deny('public.people.ssn', operation('probe', 'public.people.*'))).toBe('deny')
    expect(deny('public.people.ssn', operation('probe', 'public.people.name'))).toBe('allow')
    // An allow is the other way round: it must cover all of it.
    expect(sql('secrets.keys', 'secrets.*')).toBe('deny')
  })

  test('in Kubernetes resources are group/resource/subresource, within namespaces, by names', () => {
    expect(k8s({ resources: ['pods'] }, { resource: 'pods/exec' })).toBe('deny')
    expect(k8s({ resources: ['pods/*'] }, { resource: 'pods/exec' })).toBe('allow')
    expect(k8s({ resources: ['apps/deployments'] }, { resource: 'apps/deployments' })).toBe('allow')
    expect(k8s({ namespaces: ['shop'] }, { namespace: 'shop' })).toBe('allow')
    expect(k8s({ namespaces: ['team-*'] }, { namespace: 'team-a' })).toBe('allow')
    expect(k8s({ namespaces: ['shop'] }, { namespace: 'shop2' })).toBe('deny')
    expect(k8s({ names: ['web-*'] }, { name: 'web-1' })).toBe('allow')
  })

  test('what names no namespace or object covers all: no allow of some matches it, every deny of some does', () => {
    expect(k8s({ namespaces: ['shop'] }, {})).toBe('deny')
    expect(k8s({ names: ['a'] }, {})).toBe('deny')
    expect(k8s({ namespaces: ['kube-system'] }, {}, 'deny')).toBe('deny')
    expect(k8s({ names: ['root-ca'] }, { namespace: 'shop' }, 'deny')).toBe('deny')
    expect(k8s({ namespaces: ['kube-system'] }, { namespace: 'shop' }, 'deny')).toBe('allow')
  })

  test('in commands `*` is one word that does not start with `-`', () => {
    const run = (pattern: string, ...command: string[]): string =>
      effect('box', { operations: ['exec'], commands: [pattern] }, operation('exec', '', { command }))
    expect(run('journalctl -u shop -n *', 'journalctl', '-u', 'shop', '-n', '50')).toBe('allow')
    expect(run('journalctl -u shop -n *', 'journalctl', '-u', 'shop', '-n', '--vacuum-size=1')).toBe('deny')
    expect(run('journalctl -u shop -n *', 'journalctl', '-u', 'shop', '-n', '5', 'x')).toBe('deny')
    expect(run('journalctl -u shop -n *', 'journalctl', '-u', 'shop', '-n')).toBe('deny')
    expect(run('cat *', 'cat', '')).toBe('deny')
    expect(run("echo 'a b'", 'echo', 'a b')).toBe('allow')
    expect(run("echo 'a b'", 'echo', 'a', 'b')).toBe('deny')
    expect(run("echo '*'", 'echo', 'x')).toBe('deny')
    expect(run('reboot', 'REBOOT')).toBe('deny')
    expect(effect('box', { operations: ['shell'], commands: ['ls'] }, operation('shell', ''))).toBe('deny')
  })
})

describe('ports of a port-forward', () => {
  const of = (port: number | null) =>
    operation('create', 'pods/portforward', { namespace: 'shop', name: 'web', through: true, port })
  const rule = (...ports: number[]) => ({ operations: ['create'], resources: ['pods/portforward'], ports })
  const policy = policyOf({
    s: { connection: 'k8s', allow: [rule(80, 81)], deny: [rule(81)] },
    asks: { connection: 'k8s', allow: [rule(80)], approve: [approveBy('sre', rule(443))] },
    denies: { connection: 'k8s', deny: [rule(80)] },
  })
  const outcomes = (stage: string) =>
    [null, 80, 81, 443].map((port) => outcome(decide(policy, [stage], [of(port)], { connection: 'k8s' })))

  test('a tunnel is opened where some port may be allowed, and each port is decided by itself', () => {
    expect(outcomes('s')).toEqual(['allow', 'allow', 'deny', 'deny'])
    expect(outcomes('denies')).toEqual(['deny', 'deny', 'deny', 'deny'])
  })

  test('people are asked when the tunnel is opened', () => {
    expect(outcomes('asks')).toEqual(['approve by sre', 'allow', 'deny', 'approve by sre'])
  })

  test('a rule with ports is about nothing else', () => {
    const exec = operation('create', 'pods/exec', { through: true, command: ['id'] })
    expect(decide(policy, ['s'], [exec], { connection: 'k8s' }).effect).toBe('deny')
  })
})

describe('approvals', () => {
  test('of different groups add up, over rules, operations and levels, each once', () => {
    const policy = policyOf({
      a: {
        approve: [
          approveBy('dba', { operations: ['ddl'] }),
          approveBy('sre', { operations: ['drop'] }),
          approveBy('dba', { operations: ['delete'] }),
        ],
      },
      b: { allow: [read], approve: [approveBy('lead', { operations: ['ddl', 'delete'] })] },
    })
    expect(decide(policy, ['a', 'b'], [operation('delete'), operation('drop-table')])).toEqual({
      effect: 'approve',
      rule: 'a/db approve[2], b/db approve[0], a/db approve[0], a/db approve[1]',
      by: ['dba', 'lead', 'sre'],
      operation: operation('delete'),
    })
  })
})

describe('delegation: the strictest of the chain', () => {
  const policy = policyOf({
    deploy: {
      allow: [{ operations: ['read', 'write'] }],
      approve: [approveBy('dba', { operations: ['ddl', 'delete'] })],
      deny: [{ operations: ['*'], resources: ['secrets.*'] }],
    },
    migrate: { approve: [approveBy('lead', { operations: ['ddl'] })] },
    everything: { allow: [{ operations: ['*'] }] },
    other: { connection: 'k8s', allow: [{ operations: ['get'] }] },
    bare: null,
  })

  test('every level must allow', () => {
    expect(outcome(decide(policy, ['deploy', 'everything'], [operation('insert')]))).toBe('allow')
    expect(outcome(decide(policy, ['everything', 'deploy'], [operation('insert')]))).toBe('allow')
    expect(outcome(decide(policy, ['deploy', 'migrate'], [operation('insert')]))).toBe('deny')
    expect(outcome(decide(policy, ['everything', 'deploy', 'everything'], [operation('delete')]))).toBe(
      'approve by dba',
    )
  })

  test('every denial and every approval counts, wherever it stands', () => {
    expect(outcome(decide(policy, ['deploy', 'everything'], [operation('select', 'secrets.keys')]))).toBe(
      'deny',
    )
    expect(outcome(decide(policy, ['everything', 'deploy'], [operation('select', 'secrets.keys')]))).toBe(
      'deny',
    )
    expect(outcome(decide(policy, ['deploy', 'migrate'], [operation('drop-table')]))).toBe(
      'approve by dba+lead',
    )
  })

  test('a connection must be granted at every level', () => {
    for (const chain of [
      ['deploy', 'bare'],
      ['bare', 'deploy'],
      ['deploy', 'other'],
      ['deploy', 'unknown'],
      ['constructor'],
    ]) {
      expect(decide(policy, chain, [operation('select')])).toMatchObject({
        effect: 'deny',
        why: expect.stringContaining('has no grant for connection db'),
      })
    }
    expect(decide(policy, ['deploy'], [operation('select')], { connection: 'constructor' }).effect).toBe(
      'deny',
    )
  })

  test('levels of another policy decide nothing', () => {
    const other = policyOf({ deploy: { allow: [{ operations: ['*'] }] } })
    const levels = other.levels([{ stage: 'deploy', narrowed: null }], 'db')
    expect(() => policy.decide(levels, [operation('select')])).toThrow('a level of another policy')
    expect(() =>
      policy.decide([{ ...levels[0], stage: 'deploy', grant: null, narrowed: null, observed: false }], []),
    ).toThrow()
    expect(() => policy.masks(levels, 'db')).toThrow('a level of another policy')
  })
})

describe('narrowing', () => {
  const policy = policyOf({
    s: { allow: [{ operations: ['*', 'probe'] }] },
    web: { connection: 'k8s', allow: [{ operations: ['*'] }] },
    host: { connection: 'box', allow: [{ operations: ['*'] }] },
    api: { connection: 'api', allow: [{ operations: ['*'] }] },
  })
  const narrowed = (stage: string, connection: string, to: string[], of: Operation): string =>
    outcome(decide(policy, [stage], [of], { connection, narrowed: to }))

  test('keeps out what is not named, by group or by command', () => {
    expect(narrowed('s', 'db', ['read'], operation('select'))).toBe('allow')
    expect(narrowed('s', 'db', ['read'], operation('insert'))).toBe('deny')
    expect(narrowed('s', 'db', ['insert'], operation('insert'))).toBe('allow')
    expect(narrowed('s', 'db', ['insert'], operation('update'))).toBe('deny')
    expect(narrowed('s', 'db', ['read', 'write'], operation('update'))).toBe('allow')
    expect(narrowed('s', 'db', [], operation('select'))).toBe('deny')
  })

  test('keeps probe out unless it is named', () => {
    const probe = operation('probe', 'public.customers.email')
    expect(narrowed('s', 'db', ['read'], probe)).toBe('deny')
    expect(narrowed('s', 'db', ['*'], probe)).toBe('deny')
    expect(narrowed('s', 'db', ['read', 'probe'], probe)).toBe('allow')
  })

  test('to `read` is also get, list and watch, GET and HEAD, and sftp-read', () => {
    for (const verb of ['get', 'list', 'watch'])
      expect(narrowed('web', 'k8s', ['read'], operation(verb, 'pods'))).toBe('allow')
    for (const verb of ['create', 'patch', 'delete'])
      expect(narrowed('web', 'k8s', ['read'], operation(verb, 'pods'))).toBe('deny')
    for (const verb of ['GET', 'HEAD'])
      expect(narrowed('api', 'api', ['read'], operation(verb, '/'))).toBe('allow')
    for (const verb of ['POST', 'OPTIONS'])
      expect(narrowed('api', 'api', ['read'], operation(verb, '/'))).toBe('deny')
    expect(narrowed('host', 'box', ['read'], operation('sftp-read', '/etc/motd'))).toBe('allow')
    expect(narrowed('host', 'box', ['read'], operation('sftp-write', '/etc/motd'))).toBe('deny')
    expect(narrowed('host', 'box', ['read'], operation('exec', '', { command: ['ls'] }))).toBe('deny')
  })

  test('counts at every level of the chain', () => {
    const levels = policy.levels(
      [
        { stage: 's', narrowed: ['read'] },
        { stage: 's', narrowed: null },
      ],
      'db',
    )
    expect(policy.decide(levels, [operation('select')]).effect).toBe('allow')
    expect(policy.decide(levels, [operation('delete')])).toMatchObject({
      effect: 'deny',
      rule: null,
      why: 'this identity is narrowed to read on db (stage s), and this is delete on public.orders',
    })
  })
})

describe('what a denial says', () => {
  const policy = policyOf({
    deploy: { allow: [read], deny: [{ operations: ['delete'], resources: ['secrets.*'] }] },
  })

  test('names the rule that forbids', () => {
    const denial = decide(policy, ['deploy'], [operation('delete', 'secrets.keys', { unbounded: true })])
    expect(denial).toMatchObject({
      rule: 'deploy/db deny[0]',
      why: 'rule deploy/db deny[0] forbids delete without WHERE on secrets.keys',
      next: expect.stringContaining('hoop-access policy explain'),
    })
  })

  test('says that none allows it, and which rule to ask for', () => {
    const denial = decide(policy, ['deploy'], [operation('insert')])
    expect(denial).toMatchObject({
      rule: null,
      why: 'no rule of stage deploy allows insert on public.orders, on connection db',
      next: expect.stringMatching(/stages\.deploy\.grants .*`insert` on public\.orders.*policy explain/),
    })
  })

  test('stays one short line, whatever the client calls its tables', () => {
    const denial = decide(policy, ['deploy'], [operation('insert', `x\n\u001b[2J${'y'.repeat(100_000)}`)])
    if (denial.effect !== 'deny') throw new Error('allowed')
    expect(denial.why.length + denial.next.length).toBeLessThan(1_500)
    expect(denial.why + denial.next).not.toMatch(/\p{Cc}/u)
  })
})

describe('the version', () => {
  const grants = (rule: object) => ({ stages: { s: { grants: [{ connection: 'db', allow: [rule] }] } } })
  const version = (parts: Parameters<typeof config>[0]): string => compilePolicy(config(parts)).version
  const database = (more: object) => ({
    connections: { db: { type: 'postgres', host: 'h', database: 'd', user: 'u', ...more } },
  })

  test('changes with everything that decides, and not with the order of keys', () => {
    expect(version(grants(read))).toMatch(/^[0-9a-f]{64}$/)
    expect(version(grants(read))).toBe(version(grants({ ...read })))
    expect(version(grants(read))).not.toBe(version(grants({ operations: ['write'] })))
    expect(version(grants({ resources: ['a.*'], operations: ['read'] }))).toBe(
      version(grants({ operations: ['read'], resources: ['a.*'] })),
    )
    expect(version(database({ host: 'one' }))).not.toBe(version(database({ host: 'two' })))
  })

  test('holds no secret: it stays when one changes', () => {
    expect(version(database({ password: 'one' }))).toBe(version(database({ password: 'two' })))
    expect(version(database({ password: { file: '/a' } }))).toBe(version(database({})))
    const api = (headers: object) => ({
      connections: { api: { type: 'http', url: 'https://a.test', headers } },
    })
    expect(version(api({ authorization: 'Bearer 1' }))).toBe(version(api({ authorization: 'Bearer 2' })))
    const account = (password: string) => ({
      ...database({}),
      stages: { s: { grants: [{ connection: 'db', as: { user: 'u', password } }] } },
    })
    expect(version(account('one'))).toBe(version(account('two')))
    const app = (key: string) => ({
      issuers: { g: { platform: 'github', url: 'https://g.test', app: { id: 1, private_key: key } } },
    })
    expect(version(app('one'))).toBe(version(app('two')))
  })
})
