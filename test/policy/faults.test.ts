import { describe, expect, test } from 'vitest'
import { load, places } from './fixtures.ts'

// Every entry is a hoop.yaml with a mark, `→`, before what the fault must point at, and the start of its message.
// The mark is taken out, and line and column are counted, so that the place is part of what is checked.
type Case = [text: string, message: string]

function check(text: string, message: string, of: 'faults' | 'warnings'): void {
  const lines = text.replace(/^\n/, '').split('\n')
  const marks = lines.flatMap((line, index) =>
    line.includes('→') ? [`${index + 1}:${line.indexOf('→') + 1}`] : [],
  )
  const loaded = load(lines.join('\n').replaceAll('→', ''), { secrets: false })
  const found = places(loaded, of)
  expect(found.map((fault) => fault.split(' ')[0])).toEqual(marks)
  expect(found[0]?.slice(found[0].indexOf(' ') + 1)).toMatch(
    new RegExp(`^${message.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}`),
  )
}

const base = `
gateway:
  url: https://hoop.test
issuers:
  github: { platform: github, url: https://token.test }
  other: { platform: oidc, url: https://other.test }
connections:
  db: { type: postgres, host: h, database: d, user: u, password: p }
  k8s: { type: kubernetes, url: https://k8s.test }
  box: { type: ssh, host: h, user: u, host_key: k }
  api: { type: http, url: https://api.test }
masks:
  pii: { connections: [db], columns: ["public.*.email"] }
people:
  alice: { github: 1 }
approvers:
  dba: { members: [alice], gates: [{ console: {} }] }
`
const people = 'console: { login: { issuer: "https://idp.test", client_id: c } }\n'
/** A stage `a` with one grant. */
const grant = (text: string): string =>
  `${base}stages:\n  a:\n    subjects: [{ issuer: other, claims: { x: y } }]\n    grants:\n${text}\n`
const rule = (connection: string, text: string): string =>
  grant(`      - { connection: ${connection}, allow: [${text}] }`)
const stage = (text: string): string =>
  `${base}stages:\n  a:\n    subjects: [{ issuer: other, claims: { x: y } }]\n    grants: [{ connection: db, allow: [{ operations: [read] }] }]\n${text}\n`

describe('what the schema sees', () => {
  const cases: Case[] = [
    ['\ngateway:\n  url: https://h.test\n→stage: {}\n', 'unknown key `stage`, did you mean `stages`?'],
    ['\n→gateway:\n  listen: 127.0.0.1:1\n', '`url` is missing'],
    ['\n→people: {}\n', '`gateway` is missing'],
    [`${base}bots: { →b: { github: 2 } }\n`, '`behind` is missing'],
    [
      `${base}bots: { b: { github: 2, behind: →someone } }\n`,
      '`behind`: who is behind it: a list of people and approver groups, or `nobody`',
    ],
    [`${base}bots: { b: { cause: →"a b", behind: nobody } }\n`, '`cause`: must be the class of a cause'],
    ['\n→gateway:\n', '`gateway` has no value: it must be a map of keys and values'],
    ['\ngateway:\n  url: →hoop.test\n', '`url`: must be an https: URL'],
    ['\ngateway:\n  url: →ftp://hoop.test\n', '`url`: must be an https: URL'],
    ['\ngateway:\n  url: →7\n', '`url` must be text: put it in quotes'],
    ['\ngateway: →https://h.test\n', '`gateway` must be a map of keys and values'],
    ['\ngateway:\n  url: https://h.test\n  listen: →"8443"\n', '`listen`: an address is HOST:PORT'],
    [
      '\ngateway:\n  url: https://h.test\n  ports: { postgres: →70000 }\n',
      '`postgres` must be at most 65535',
    ],
    ['\ngateway:\n  url: https://h.test\n  ports: { postgres: →0 }\n', '`postgres` must be at least 1'],
    ['\ngateway:\n  url: https://h.test\n  ports: { postgres: →1.5 }\n', '`postgres` must be a whole number'],
    ['\ngateway:\n  url: https://h.test\n  ports: { →pg: 1 }\n', 'unknown key `pg`; known: postgres, ssh'],
    ...['12h', '0d', '-1d', '1.5d', '90', '1w'].map(
      (time): Case => [
        `\ngateway:\n  url: https://h.test\n  retention: →"${time}"\n`,
        '`retention`: this is a number of whole days, one at least: 30d, 90d, 365d',
      ],
    ),
    ['\ngateway:\n  url: https://h.test\n  →tls: { cert: { file: a } }\n', '`key` is missing'],
    [
      `${base}smtp: { url: { →fil: x }, from: a }\n`
        .replace('url: { →fil', '→url: { →fil')
        .replace('→url', 'url'),
      'unknown key `fil`, did you mean `file`?',
    ],
    [`${base}smtp: { url: →[a], from: a }\n`, '`url`: must be text, `${NAME}` or `{ file: PATH }`'],
    [`${base}smtp: { url: →"", from: a }\n`, '`url`'],
    [`${base}smtp: { url: { file: →3 }, from: a }\n`, '`file` must be text: put it in quotes'],
    [
      base.replace('platform: github', 'platform: →githb'),
      '`platform` must be one of github, gitlab, jenkins, oidc, did you mean `github`?',
    ],
    [
      base.replace('other: { platform: oidc, ', '→other: { '),
      '`platform` is missing: one of github, gitlab, jenkins, oidc',
    ],
    [base.replace('type: http,', 'type: →mysql,'), '`type` must be one of postgres, kubernetes, ssh, http'],
    [
      base.replace('host: h, database: d,', 'host: h, →databse: d, database: d,'),
      'unknown key `databse`, did you mean `database`?',
    ],
    [base.replace('  db: { type: postgres, host: h,', '  →db: { type: postgres,'), '`host` is missing'],
    [base.replace('  api: {', '  →My_api!: {'), '`My_api!`: a name is 1 to 63'],
    [base.replace('"public.*.email"', '→email'), '`columns[0]`: a column is schema.table.column'],
    [base.replace('["public.*.email"]', '→[]'), '`columns` needs at least one entry'],
    [
      base.replace('"] }', '"], with: →hsh }'),
      '`with` must be one of partial, redact, hash, empty, did you mean `hash`?',
    ],
    [base.replace('{ console: {} }', '{ →consol: {} }'), 'unknown key `consol`, did you mean `console`?'],
    [base.replace('{ console: {} }', '{ console: { →x: 1 } }'), 'unknown key `x`'],
    [base.replace('{ console: {} }', '{ →slack: {} }'), '`channel` is missing'],
    [base.replace('{ console: {} }', '→console'), '`gates[0]`: a gate is one of'],
    [
      base.replace('{ console: {} }', '→{ console: {}, slack: { channel: c } }'),
      '`gates[0]`: a gate is one of',
    ],
    [
      base.replace('members: [alice],', 'members: [alice], reuse: →twice,'),
      '`reuse`: must be `once`, `identity` or a duration',
    ],
    [
      base.replace('members: [alice],', 'members: [alice], timeout: →30,'),
      '`timeout` must be text: put it in quotes',
    ],
    [
      base.replace('members: [alice],', 'members: [alice], timeout: →30 min,'),
      '`timeout`: a duration is a number and s, m, h or d',
    ],
    [base.replace('github: 1', 'github: →octocat'), '`github` must be a number'],
    [base.replace('github: 1', 'email: →alice'), '`email`: must be an email address'],
    [stage('    ttl: →1w'), '`ttl`: a duration is'],
    [stage('    binding: →tokn'), '`binding` must be one of required, token, did you mean `token`?'],
    [stage('    →delegate: []'), 'unknown key `delegate`, did you mean `delegates`?'],
    [stage('').replace('{ x: y }', '{ x: →12 }'), '`x` must be text: put it in quotes'],
    [stage('').replace('{ x: y }', '→{}'), '`claims`: name at least one claim'],
    [rule('db', '{ operations: →[] }'), '`operations` needs at least one entry'],
    [rule('db', '→{ resources: ["*"] }'), '`operations` is missing'],
    [rule('db', '{ operations: [read], resources: →[] }'), '`resources` needs at least one entry'],
    [
      rule('db', `{ operations: [read], resources: [→"${'a'.repeat(257)}"] }`),
      '`resources[0]` is longer than 256 characters',
    ],
    [rule('db', '{ operations: [update], unbounded: →false }'), '`unbounded` must be true'],
    [grant('      - { connection: db, approve: [→{ operations: [ddl] }] }'), '`by` is missing'],
    [grant('      - →{ allow: [{ operations: [read] }] }'), '`connection` is missing'],
    [`${base}console: { roles: { →root: [] } }\n`, 'unknown key `root`; known: admin, auditor'],
  ]
  for (const [text, message] of cases) test(message, () => check(text, message, 'faults'))

  test('every fault of a file is told at once, in the order of the file', () => {
    const loaded = load(
      base.replace('platform: oidc', 'platform: no').replace('github: 1', 'githb: 1').slice(1),
      { secrets: false },
    )
    expect(places(loaded).map((fault) => fault.split(' ')[0])).toEqual(['5:22', '14:12'])
  })
})

describe('what contradicts itself', () => {
  const cases: Case[] = [
    ['\ngateway:\n  url: →http://hoop.test\n', '`url` must be https:'],
    ['\ngateway:\n  url: →https://u:p@hoop.test\n', '`url` holds a user or password'],
    ['\ngateway:\n  url: →https://hoop.test/path\n', '`url` is scheme, host and port only'],
    ['\ngateway:\n  url: https://h.test\n  listen: →0.0.0.0:70000\n', 'there is no port 70000'],
    ['\ngateway:\n  url: https://h.test\n  ports: { ssh: →8443 }\n', 'port 8443 is taken by `listen`'],
    [
      '\ngateway:\n  url: https://h.test\n  ports: { postgres: 1, ssh: →1 }\n',
      'port 1 is taken by `ports.postgres`',
    ],
    [base.replace('https://other.test', '→http://other.test'), '`url` must be https:'],
    [
      base.replace('https://other.test', '→https://10.1.2.3'),
      '`url` is on a private or loopback address: that needs `allow_private: true`',
    ],
    [
      base.replace('https://other.test', '→"https://[fd00::1]/x"'),
      '`url` is on a private or loopback address',
    ],
    [base.replace('https://other.test', '→http://localhost:1'), '`url` is on a private or loopback address'],
    [base.replace('https://other.test', '→https://0x7f.1'), '`url` is on a private or loopback address'],
    [base.replace('https://other.test', '→http://other.test, allow_private: true'), '`url` must be https:'],
    [
      base.replace('url: https://token.test', 'url: https://token.test, api: →http://api.test'),
      '`api` must be https:',
    ],
    [base.replace('https://api.test', '→http://api.test'), '`url` must be https:'],
    [base.replace('https://k8s.test', '→https://a:b@k8s.test'), '`url` holds a user or password'],
    [base.replace('  k8s: { ', '  k8s: →{ client_cert: c, '), '`client_cert` and `client_key` go together'],
    [base.replace('host_key: k', 'host_key: k, certificate: →c'), '`certificate` needs the `private_key`'],
    [base.replace('database: d,', 'database: d, databases: [e, →e],'), '`e` is here twice'],
    [
      base.replace('connections: [db]', 'connections: [→bd]'),
      'there is no connection named `bd`, did you mean `db`?',
    ],
    [
      base.replace('connections: [db]', 'connections: [→api]'),
      'api is http: columns are masked on postgres connections only',
    ],
    [
      base.replace('connections: [db], columns: ["public.*.email"]', 'connections: [→db], fields: ["$.a"]'),
      'db is postgres: fields are masked on http connections only',
    ],
    [
      `${base}detectors:\n  patterns:\n    good: "k_[0-9]{8}"\n    own: →"k_.+"\n`,
      '`own`: give every repetition an end',
    ],
    [
      base.replace('{ connections: [db], columns: ["public.*.email"] }', '→{ connections: [db] }'),
      'say what it masks: `columns` (PostgreSQL) or `fields` (HTTP)',
    ],
    [
      base.replace('connections: [db], columns: ["public.*.email"]', 'fields: [→email]'),
      'a JSON path is `$` and steps such as',
    ],
    [
      base.replace('connections: [db], columns: ["public.*.email"]', 'fields: ["$.a"], unproven: →refuse'),
      '`unproven` is for `columns`',
    ],
    [base.replace('connections: [db]', 'connections: [db, →db]'), '`db` is here twice'],
    [
      base.replace('members: [alice]', 'members: [→alcie]'),
      'there is no person named `alcie`, did you mean `alice`?',
    ],
    [base.replace('members: [alice]', 'members: [alice, →alice]'), '`alice` is here twice'],
    [
      base.replace('members: [alice]', 'members: [alice, operator], required: →3'),
      '`required` 3 is more than the group has members',
    ],
    [`${base}bots: { b: →{ behind: nobody } }\n`, 'it has no account: give it `github`'],
    [`${base}bots: { b: { github: →1, behind: nobody } }\n`, "this github account is alice's already"],
    [
      `${base}bots: { b: { jenkins: ci, behind: nobody }, c: { jenkins: →ci, behind: nobody } }\n`,
      "this jenkins account is b's already",
    ],
    [
      `${base}bots: { b: { github: 2, behind: [alice, dba, →alcie] } }\n`,
      'there is no person or approver group named `alcie`, did you mean `alice`?',
    ],
    [`${base}bots: { b: { github: 2, behind: [dba, →dba] } }\n`, '`dba` is here twice'],
    [base.replace('{ console: {} }', '{ slack: →{ channel: c } }'), 'this gate needs the `slack` settings'],
    [
      `${base.replace('{ console: {} }', '{ slack: →{ channel: c } }')}slack: { signing_secret: s }\n`,
      'this gate needs `slack.token`',
    ],
    [
      `${base.replace('{ console: {} }', '{ slack: →{ channel: c } }')}slack: { token: t }\n`,
      'this gate needs `slack.signing_secret`, or `slack.app_token`',
    ],
    [
      `${base.replace('{ console: {} }', '{ email: →{} }')}${people}`,
      'this gate needs the mail server: `smtp`',
    ],
    [
      `${base.replace('{ console: {} }', '→{ email: {} }')}smtp: { url: u, from: f }\n`,
      'people answer this gate on the page, and cannot log in there',
    ],
    [
      `${base.replace('{ console: {} }', '{ webhook: { to: →tickets } }')}${people}`,
      'there is no webhook named `tickets`',
    ],
    [`${base}webhooks: { t: { url: →"http://t.test", secret: s } }\n`, '`url` must be https:'],
    [
      `${base}webhooks: { t: { url: →"https://10.0.0.1", secret: s } }\n`,
      '`url` is on a private or loopback address',
    ],
    [
      `${base}console: { login: { issuer: →"https://127.0.0.1", client_id: c } }\n`,
      '`issuer` is on a private or loopback address',
    ],
    [
      base.replace(
        '{ console: {} }',
        '{ github-environment: →{ environment: e, repository: a/r, workflow: w.yml } }',
      ),
      'this gate needs a GitHub issuer with an `app`',
    ],
    [
      base.replace('{ console: {} }', '{ github-pull-request: →{} }'),
      'this gate needs a GitHub issuer with an `app`',
    ],
    [
      base.replace('{ console: {} }', '{ gitlab-manual-job: →{ ci_config_ref_uri: u } }'),
      'this gate needs a GitLab issuer',
    ],
    [
      base.replace('{ console: {} }', '{ gitlab-deployment: →{ project: a/b, environment: e } }'),
      'this gate needs one GitLab issuer with a `token`, and there is none',
    ],
    [
      base.replace('{ console: {} }', '{ gitlab-merge-request: →{} }'),
      'this gate needs a GitLab issuer with a `token`',
    ],
    [
      base.replace('{ console: {} }', '{ jenkins-input: →{} }'),
      'this gate needs a Jenkins issuer with `user` and `token`',
    ],
    [
      base.replace('members: [alice]', 'members: [alice], break_glass: →oncall'),
      'there is no approver group named `oncall`',
    ],
    [
      base.replace('members: [alice]', 'members: [alice], break_glass: →dba'),
      'a group cannot break its own glass',
    ],
    [
      base.replace('  alice: { github: 1 }', '  alice: { github: 1 }\n  bob: { github: →1 }'),
      "this github account is alice's already",
    ],
    [
      base.replace('  alice: { github: 1 }', '  alice: { email: A@x.test }\n  bob: { email: →a@x.test }'),
      "this email account is alice's already",
    ],
    [
      base.replace('  alice: { github: 1 }', '  alice: { github: 1 }\n  operator: →{}'),
      '`operator` is the operator of the gateway',
    ],
    [
      stage('').replace('issuer: other', 'issuer: →gihtub'),
      'there is no issuer named `gihtub`, did you mean `github`?',
    ],
    [
      stage('').replace('{ x: y }', '{ x: y }, reviewed: →true'),
      '`reviewed` is asked of GitHub: issuer other is oidc',
    ],
    [stage('    ttl: 20m\n    max_ttl: →15m'), '`max_ttl` 15m is shorter than `ttl` 20m'],
    [stage('    max_ttl: →1m'), '`max_ttl` 1m is shorter than `ttl` 15m'],
    [stage('    delegates: [→b]'), 'there is no stage named `b`'],
    [stage('    delegates: [a, →a]'), '`a` is here twice'],
    [rule('→dbb', '{ operations: [read] }'), 'there is no connection named `dbb`, did you mean `db`?'],
    [
      grant(
        '      - { connection: db, allow: [{ operations: [read] }] }\n      - { connection: →db, allow: [{ operations: [ddl] }] }',
      ),
      'grants[0] is for db already',
    ],
    [
      grant('      - { connection: db, allow: [{ operations: [read] }], unmask: [→kubernetes-secrets] }'),
      'there is no mask named `kubernetes-secrets`',
    ],
    [
      grant('      - { connection: k8s, allow: [{ operations: [get], resources: [→pods/exec] }] }'),
      '`pods/exec` is `create`, whichever way it is asked for',
    ],
    [
      grant(
        '      - { connection: box, as: { user: u, impersonate: →{ user: a } }, allow: [{ operations: [exec] }] }',
      ),
      '`impersonate` is not how a ssh account is given',
    ],
    [
      grant('      - { connection: db, allow: [{ operations: [read] }], unmask: [→pi] }'),
      'there is no mask named `pi`, did you mean `pii`?',
    ],
    [
      grant('      - { connection: db, allow: [{ operations: [read] }], unmask: [pii, →pii] }'),
      '`pii` is here twice',
    ],
    [
      grant('      - { connection: db, approve: [{ operations: [ddl], by: →dbas }] }'),
      'there is no approver group named `dbas`, did you mean `dba`?',
    ],
    [
      grant('      - { connection: db, as: →{ user: u }, allow: [{ operations: [read] }] }'),
      '`password` is missing',
    ],
    [
      grant('      - { connection: db, as: →{ password: p }, allow: [{ operations: [read] }] }'),
      '`user` is missing',
    ],
    [
      grant(
        '      - { connection: db, as: { user: u, password: p, token: →t }, allow: [{ operations: [read] }] }',
      ),
      '`token` is not how a postgres account is given: use user, password',
    ],
    [grant('      - { connection: api, as: →{}, allow: [{ operations: [GET] }] }'), '`token` is missing'],
    [
      grant('      - →{ connection: db, allow: [{ operations: [read] }] }').replace(
        ' user: u, password: p }',
        ' }',
      ),
      'connection db has no `user`',
    ],
    [rule('db', '{ operations: [→raed] }'), 'postgres has no operation `raed`, did you mean `read`?'],
    [rule('db', '{ operations: [→SELECT] }'), 'postgres has no operation `SELECT`, did you mean `select`?'],
    [rule('db', '{ operations: [→GET] }'), 'postgres has no operation `GET`'],
    [rule('k8s', '{ operations: [→exec] }'), 'kubernetes has no operation `exec`'],
    [rule('box', '{ operations: [→sftp] }'), 'ssh has no operation `sftp`'],
    [rule('api', '{ operations: [→get] }'), 'http has no operation `get`, did you mean `GET`?'],
    [rule('db', '{ operations: [read], resources: [→public.a.b.c] }'), 'a resource is schema.relation'],
    [rule('db', '{ operations: [read], resources: [→"/x"] }'), 'a resource is schema.relation'],
    [rule('db', '{ operations: [read], resources: [→"public."] }'), 'a resource is schema.relation'],
    [rule('db', `{ operations: [read], resources: [→'public."a'] }`), 'a resource is schema.relation'],
    [rule('db', '{ operations: [read], resources: [→"public.**"] }'), '`**` is for paths'],
    [rule('db', '{ operations: [read], resources: [→public.a.b] }'), 'only `probe` is of a column'],
    [rule('db', '{ operations: [probe], resources: →[public.a] }'), '`probe` is of a column'],
    [
      rule('db', '{ operations: [read], resources: [→"public.\\x01"] }'),
      'a resource has no control characters',
    ],
    [rule('k8s', '{ operations: [get], resources: [→a/b/c/d] }'), 'a resource is group/resource/subresource'],
    [rule('k8s', '{ operations: [get], resources: [→"apps/**"] }'), '`**` is for paths'],
    [rule('api', '{ operations: [GET], resources: [→v1] }'), 'a resource is a path that starts with `/`'],
    [rule('api', '{ operations: [GET], resources: [→"/v1?x=1"] }'), 'a resource is a path'],
    [rule('box', '{ operations: [sftp-read], resources: [→"a b"] }'), 'a resource is a path or HOST:PORT'],
    [
      rule('db', '{ operations: [read], namespaces: →[a] }'),
      '`namespaces` is for kubernetes connections only',
    ],
    [rule('api', '{ operations: [GET], names: →[a] }'), '`names` is for kubernetes connections only'],
    [rule('k8s', '{ operations: [get], names: [→"a/b"] }'), 'a name, possibly with `*`'],
    [rule('db', '{ operations: [read], query: →{ a: b } }'), '`query` is for http connections only'],
    [rule('k8s', '{ operations: [create], body: →{ $.a: b } }'), '`body` is for http connections only'],
    [rule('api', '{ operations: [POST], query: →{} }'), 'name at least one condition'],
    [rule('api', '{ operations: [POST], body: { amount: →b } }'), 'a JSON path is `$` and steps such as'],
    [rule('api', '{ operations: [POST], body: { "$.a[?(@.b)]": →b } }'), 'a JSON path is `$` and steps'],
    [rule('api', '{ operations: [read], body: →{ $.a: b } }'), 'requests that only read have no body'],
    [
      rule('db', '{ operations: [read], commands: →[a] }'),
      '`commands` is for ssh and kubernetes connections only',
    ],
    [rule('box', '{ operations: [forward], ports: →[22] }'), '`ports` is for kubernetes connections only'],
    [
      rule('k8s', '{ operations: [create], resources: [pods/portforward, pods/exec], ports: →[22] }'),
      '`ports` goes with `resources: [pods/portforward]` alone',
    ],
    [rule('k8s', '{ operations: ["*"], ports: →[22] }'), '`ports` goes with'],
    [rule('box', '{ operations: [exec], commands: [→"rm x*"] }'), 'a command is words with spaces between'],
    [rule('box', `{ operations: [exec], commands: [→"echo 'a"] }`), 'a command is words with spaces between'],
    [rule('box', '{ operations: [exec], commands: [→" "] }'), 'a command is words with spaces between'],
    [rule('box', '{ operations: [exec], unbounded: →true }'), '`unbounded` is for postgres connections only'],
    [rule('db', '{ operations: [read], unbounded: →true }'), '`unbounded` goes with update, delete or write'],
    [rule('api', '{ operations: [POST], dry_run: →true }'), '`dry_run` is for kubernetes connections only'],
    [
      rule('k8s', '{ operations: [read, get], dry_run: →true }'),
      '`dry_run` goes with create, update, patch, delete, deletecollection: nothing else can be tried',
    ],
    [
      rule('k8s', '{ operations: [→dry-run] }'),
      'kubernetes has no operation `dry-run`: name the verbs, and write `dry_run: true`',
    ],
    [
      rule('k8s', '{ operations: [create], resources: [pods, →pods/exec], dry_run: true }'),
      'no dry run of `pods/exec` is sure to change nothing: this would never match',
    ],
    [
      rule('k8s', '{ operations: [patch], resources: [→"shop.example.com/*", apps/*, "*"], dry_run: true }'),
      'no dry run of `shop.example.com/*` is sure to change nothing: if its server keeps to dryRun, name shop.example.com in the connection’s `dry_run_groups`',
    ],
    [
      `${base}console: { login: { issuer: →http://idp.test, client_id: a, client_secret: b } }\n`,
      '`issuer` must be https:',
    ],
  ]
  for (const [text, message] of cases) test(message, () => check(text, message, 'faults'))
})

describe('what is odd, and only a warning', () => {
  const cases: Case[] = [
    [
      stage('')
        .replace(/ {4}grants.*\n/, '')
        .replace('  a:', '  →a:'),
      'stage a has no grants: it may do nothing',
    ],
    [
      stage('')
        .replace(/ {4}subjects.*\n/, '')
        .replace('  a:', '  →a:'),
      'stage a has no subjects, and no stage delegates to it',
    ],
    [grant('      - →{ connection: db }'), 'this grant has no rules'],
    [
      grant('      - { connection: api, allow: [{ operations: [GET] }], unmask: [→pii] }'),
      'mask pii does not concern api',
    ],
    [
      stage('').replace('issuer: other, claims: {', 'issuer: github, claims: →{'),
      'these claims name no repository',
    ],
    [
      `${base.replace('database: d,', 'database: d, tls: →disable,')}`,
      '`tls: disable` lets others on the way',
    ],
    [
      `${base.replace('{ console: {} }', '{ slack: →{ channel: c } }')}slack: { token: t, signing_secret: s }\n`,
      'alice has no `slack` in `people`',
    ],
    [
      `${base.replace('{ console: {} }', '{ email: →{} }')}${people}smtp: { url: u, from: f }\n`,
      'alice has no `email` in `people`',
    ],
    [
      stage('')
        .replace('issuer: other, claims: {', 'issuer: github, claims: { repository_id: "1",')
        .replace('alice: { github: 1 }', 'alice: →{ slack: U1 }'),
      'alice has no `github`: what they set off there is not known to be theirs',
    ],
    [
      stage('')
        .replace('allow: [{ operations: [read] }]', 'approve: [{ operations: [ddl], by: dba }]')
        .replace('issuer: other', 'issuer: →ci')
        .replace('issuers:\n', 'issuers:\n  ci: { platform: jenkins, url: https://ci.test/oidc }\n')
        .replace('github: 1', 'jenkins: alice'),
      'nobody can approve what its jobs ask',
    ],
  ]
  for (const [text, message] of cases) test(message, () => check(text, message, 'warnings'))
})

test('loopback is where http may be, and a private issuer where it is said', () => {
  const text = base
    .replace('https://hoop.test', 'http://127.0.0.1:8443')
    .replace('https://other.test', 'http://localhost:1, allow_private: true')
    .replace('https://api.test', '"http://[::1]:1"')
  expect(places(load(text, { secrets: false }))).toEqual([])
})

test('a quoted name may hold a dot, and a command a quoted word', () => {
  expect(
    places(load(rule('db', `{ operations: [read], resources: ['public."a.b"'] }`), { secrets: false })),
  ).toEqual([])
  expect(
    places(load(rule('box', `{ operations: [exec], commands: ["echo 'a b' *"] }`), { secrets: false })),
  ).toEqual([])
})
