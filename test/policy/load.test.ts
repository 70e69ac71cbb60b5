import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { checkConfig, renderFaults } from '../../gateway/policy/check.ts'
import { loadConfig, parseDuration, readSecret } from '../../gateway/policy/load.ts'
import { mapSecrets } from '../../gateway/policy/secret.ts'
import { folder, load, places } from './fixtures.ts'

// Kept as text: unquoted variables in flow maps are not YAML to other tools, and have to be to this one.
const example = readFileSync(new URL('hoop.yaml.txt', import.meta.url), 'utf8')
const withoutOtherPlaces = example.replace(/^ {2}(database|recordings): .*\n/gm, '')
const env = {
  DATABASE_URL: 'postgres://state',
  GITHUB_WEBHOOK_SECRET: 'w1',
  GITLAB_TOKEN: 'glpat',
  GITLAB_WEBHOOK_SECRET: 'w2',
  JENKINS_TOKEN: 'j',
  ORDERS_DB_PASSWORD: 'p: "1", #}{',
  BILLING_TOKEN: 'b',
  ORDERS_RO_PASSWORD: 'ro',
  SLACK_TOKEN: 'xoxb',
  SLACK_SIGNING_SECRET: 's',
  SMTP_URL: 'smtps://u:p@mail.test',
  CONSOLE_SECRET: 'c',
}
const files = ['tls.crt', 'tls.key', 'app.pem', 'db-ca.pem', 'k8s.token', 'k8s-ca.pem', 'id_ed25519']

function writeExample(text = example): string {
  const dir = folder()
  for (const file of files) writeFileSync(join(dir, file), `${file}\n`)
  writeFileSync(join(dir, 'hoop.yaml'), text)
  return dir
}

const head = 'gateway:\n  url: https://hoop.test\n'

describe('a sound hoop.yaml', () => {
  test('places for state and recordings that this version does not know are a warning, and a fault at a start', () => {
    const path = join(writeExample(), 'hoop.yaml')
    const checked = loadConfig(path, { env, secrets: false })
    const found = [
      expect.stringMatching(/^6:13 `database`: this version/),
      expect.stringMatching(/^7:15 `recordings`: this version/),
    ]
    expect(places(checked)).toEqual([])
    expect(places(checked, 'warnings')).toEqual(found)
    expect(places(loadConfig(path, { env, secrets: true }))).toEqual(found)
  })

  test('recordings may go into a folder, from where hoop.yaml is', () => {
    const dir = writeExample(withoutOtherPlaces.replace('gateway:\n', 'gateway:\n  recordings: records\n'))
    const loaded = loadConfig(join(dir, 'hoop.yaml'), { env, secrets: true })
    expect('config' in loaded && loaded.config.gateway.recordings).toBe(join(dir, 'records'))
  })

  test('the example of the documentation loads, with variables read and files by absolute path', () => {
    const dir = writeExample(withoutOtherPlaces)
    const loaded = loadConfig(join(dir, 'hoop.yaml'), { env, secrets: true })
    expect(places(loaded)).toEqual([])
    if ('faults' in loaded) return
    const { config } = loaded
    expect(loaded.warnings).toEqual([])
    expect(config.gateway.data).toBe(join(dir, '.hoop'))
    expect(config.gateway.tls).toEqual({
      cert: { file: join(dir, 'tls.crt') },
      key: { file: join(dir, 'tls.key') },
    })
    expect(config.connections['orders-db']).toEqual({
      type: 'postgres',
      host: 'db.internal',
      port: 5432,
      database: 'shop',
      user: 'ci',
      // As it is in the environment: variables are read after the YAML is.
      password: 'p: "1", #}{',
      tls: 'verify-full',
      ca: { file: join(dir, 'db-ca.pem') },
    })
    expect(config.connections['billing']).toMatchObject({ headers: { authorization: 'Bearer b' } })
    expect(config.stages['test']?.subjects?.[0]?.claims).toEqual({
      repository_id: '1296269',
      ref: 'refs/heads/**',
    })
    expect(config.stages['migrate']).toMatchObject({ ttl: '15m', binding: 'required' })
  })

  test('its secrets, all of them, are found for what must not hold them', () => {
    const dir = writeExample(withoutOtherPlaces)
    const loaded = loadConfig(join(dir, 'hoop.yaml'), { env, secrets: true })
    if ('faults' in loaded) throw new Error(places(loaded).join('\n'))
    const found: string[] = []
    const bare = JSON.stringify(
      mapSecrets(loaded.config, (secret) => {
        found.push(typeof secret === 'string' ? secret : secret.file)
        return undefined
      }),
    )
    const expected = [
      ...Object.values(env)
        .filter((value) => value !== env.DATABASE_URL)
        .map((value) => (value === env.BILLING_TOKEN ? `Bearer ${value}` : value)),
      ...files.map((file) => join(dir, file)),
    ]
    expect(found.toSorted()).toEqual(expected.toSorted())
    for (const value of expected) expect(bare).not.toContain(JSON.stringify(value))
  })

  test('checking needs neither variables nor files, and warns of a CA that is not there', () => {
    const dir = folder()
    const path = join(dir, 'hoop.yaml')
    writeFileSync(path, withoutOtherPlaces)
    const { faults, warnings } = checkConfig(path, {})
    expect(faults).toEqual([])
    const missing = (name: string): string =>
      `the file ${join(dir, name)} does not exist, or cannot be read: without it the gateway will not start`
    expect(warnings.map(({ line, column, message }) => `${line}:${column} ${message}`)).toEqual([
      `27:17 ${missing('db-ca.pem')}`,
      `28:100 ${missing('k8s-ca.pem')}`,
    ])
    for (const name of ['db-ca.pem', 'k8s-ca.pem']) writeFileSync(join(dir, name), 'x')
    expect(checkConfig(path, {})).toEqual({ faults: [], warnings: [] })
  })

  test('with secrets, each unset or empty variable and each missing file is a fault at its place', () => {
    const dir = folder()
    writeFileSync(join(dir, 'hoop.yaml'), withoutOtherPlaces)
    const loaded = loadConfig(join(dir, 'hoop.yaml'), { env: { ...env, SLACK_TOKEN: '' }, secrets: true })
    const found = places(loaded)
    const line = withoutOtherPlaces.split('\n').findIndex((text) => text.startsWith('slack:')) + 1
    expect(found).toContain(`${line}:17 the environment variable SLACK_TOKEN is not set, or empty`)
    expect(found).toContain(`7:24 the file ${join(dir, 'tls.crt')} does not exist, or cannot be read`)
    expect(found).toHaveLength(files.length + 1)
  })

  test('JSON is accepted, with tabs and a $schema for editors', () => {
    const text =
      '{\n\t"$schema": "hoop.schema.json",\n\t"gateway": {\n\t\t"url": "https://hoop.test"\n\t}\n}\n'
    expect(places(load(text))).toEqual([])
    expect(places(load(text.replace('https:', 'ftp:')))[0]).toMatch(/^4:10 `url`/)
  })

  test('anchors and aliases work', () => {
    const text = `${head}people:\n  a: &who { github: 1 }\napprovers:\n  x: { members: &m [a], gates: [{ console: {} }] }\n  y: { members: *m, gates: [{ console: {} }] }\n`
    const loaded = load(text)
    expect(places(loaded)).toEqual([])
    expect('config' in loaded && loaded.config.approvers['y']?.members).toEqual(['a'])
  })

  test('a byte order mark and Windows line ends do not move columns', () => {
    expect(places(load(`\uFEFF${head}`.replaceAll('\n', '\r\n')))).toEqual([])
    expect(places(load(`${head}slak: {}\n`.replaceAll('\n', '\r\n')))[0]).toMatch(
      /^3:1 unknown key `slak`, did you mean `slack`\?/,
    )
  })
})

describe('variables', () => {
  const text = `${head}  listen: 127.0.0.1:\${PORT}\n  ports: { postgres: \${PG_PORT} }\nconnections:\n  db: { type: postgres, host: h, database: d, user: u, password: "a\${PW}b\${PW}" }\n`

  test('are read within text, more than once, and stand for numbers when alone', () => {
    const loaded = load(text, { env: { PORT: '1', PG_PORT: '15432', PW: '${PORT}' } })
    expect(places(loaded)).toEqual([])
    if ('faults' in loaded) return
    expect(loaded.config.gateway.listen).toBe('127.0.0.1:1')
    expect(loaded.config.gateway.ports?.postgres).toBe(15_432)
    // What a variable holds is not read again.
    expect(loaded.config.connections['db']).toMatchObject({ password: 'a${PORT}b${PORT}' })
  })

  test('that are unset stand for anything that fits, when secrets are not asked for', () => {
    const loose = `gateway:\n  url: \${URL}\n  listen: \${LISTEN}\n  ports: { ssh: \${SSH} }\nstages:\n  a: { ttl: \${TTL}, delegates: [\${OTHER}] }\n`
    expect(places(load(loose, { secrets: false }))).toEqual([])
    expect(places(load(loose, { secrets: true }))).toEqual([
      '2:8 the environment variable URL is not set, or empty',
      '3:11 the environment variable LISTEN is not set, or empty',
      '4:17 the environment variable SSH is not set, or empty',
      '6:13 the environment variable TTL is not set, or empty',
      '6:33 the environment variable OTHER is not set, or empty',
    ])
  })

  test('keep a text that spells a number as text where text is wanted', () => {
    const claims = `${head}issuers: { i: { platform: oidc, url: https://i.test } }\nstages:\n  a:\n    subjects: [{ issuer: i, claims: { id: \${ID} } }]\n`
    const loaded = load(claims, { env: { ID: '0123' } })
    expect('config' in loaded && loaded.config.stages['a']?.subjects?.[0]?.claims).toEqual({ id: '0123' })
  })

  test('that are unset where nothing fits are said to be what is wrong', () => {
    const kind = `${head}issuers: { i: { platform: \${PLATFORM}, url: https://i.test } }\n`
    expect(places(load(kind, { secrets: false }))).toEqual([
      '3:27 cannot be checked: the environment variable PLATFORM is not set',
    ])
  })

  test('that are malformed are faults, not passwords', () => {
    for (const wrong of ['${A-B}', '${}', '"${A"', '"${A B}"']) {
      expect(places(load(`${head}smtp:\n  url: ${wrong}\n  from: a\n`))[0]).toMatch(
        /^4:8 `\$\{` starts a variable/,
      )
    }
  })

  test('are not read from what every object has', () => {
    expect(places(load(`${head}smtp: { url: "\${constructor}", from: a }\n`))).toEqual([
      '3:14 the environment variable constructor is not set, or empty',
    ])
  })

  test('never show their value in a fault', () => {
    const loaded = load(
      `${head}connections:\n  db: { type: \${PW}, host: h }\nstages: { a: { binding: \${PW}, ttl: \${PW} } }\n`,
      {
        env: { PW: 'hunter2-hunter2' },
      },
    )
    expect(places(loaded)).toHaveLength(3)
    expect(JSON.stringify(loaded)).not.toContain('hunter2')
  })
})

describe('files that are no hoop.yaml', () => {
  const cases: [string, string | Uint8Array, string][] = [
    ['an empty file', '', '1:1 the file is empty'],
    ['comments only', '# nothing\n', '1:1 the file is empty'],
    ['a list', '- a\n', '1:1 `hoop.yaml` must be a map of keys and values'],
    ['a scalar', 'hello\n', '1:1 `hoop.yaml` must be a map of keys and values'],
    ['bytes that are not UTF-8', Uint8Array.of(0x61, 0xff, 0x0a), '1:1 the file is not UTF-8 text'],
    ['a file that is too large', `# ${'x'.repeat(1024 * 1024)}\n`, '1:1 the file is larger than 1 MiB'],
    ['two documents', `${head}---\na: 1\n`, '3:1 one document only: this is a second one'],
    ['a quote that does not end', `${head}smtp: "x\n`, '4:1 YAML: Missing closing "quote'],
    ['a repeated key', `${head}people:\n  al: {}\n  al: {}\n`, '5:3 `al` is here twice'],
    [
      'a repeated key in a flow map',
      'gateway: { url: https://a.test, "url": https://b.test }\n',
      '1:33 `url` is here twice',
    ],
    ['a custom tag', `${head}people: !people {}\n`, '3:17 tags such as `!people` are not read'],
    [
      'a core tag',
      `gateway:\n  url: !!str https://a.test\n`,
      '2:14 tags such as `tag:yaml.org,2002:str` are not read',
    ],
    ['an alias without an anchor', `${head}people: *who\n`, '3:9 no anchor named `who` before this'],
    ['a key that is a list', `${head}? [a]\n: 1\n`, '3:3 a key is text'],
    ['a key that reaches for the prototype', `${head}__proto__: { people: {} }\n`, '3:1 a key is text'],
  ]
  test.each(cases)('%s', (_name, text, expected) => {
    expect(places(load(text))).toEqual([expected])
  })

  test('a file that is not there, and a folder', () => {
    const dir = folder()
    expect(places(loadConfig(join(dir, 'none.yaml'), { env: {}, secrets: true }))).toEqual([
      '1:1 there is no such file: --config names another',
    ])
    expect(places(loadConfig(dir, { env: {}, secrets: true }))).toEqual([
      '1:1 the file cannot be read (EISDIR)',
    ])
  })

  test('aliases that multiply are refused before they take memory', () => {
    const rows = ['a0: &a0 [x, x, x, x, x, x, x, x, x]']
    for (let i = 1; i < 12; i++)
      rows.push(
        `a${i}: &a${i} [${Array(9)
          .fill(`*a${i - 1}`)
          .join(', ')}]`,
      )
    expect(places(load(`${rows.join('\n')}\n`))[0]).toMatch(/more than 50000 values/)
  })

  test('an alias that contains itself, and nesting without end, are faults', () => {
    expect(places(load(`${head}people: &p { a: *p }\n`))[0]).toMatch(/nested too deep/)
    expect(places(load('['.repeat(100_000)))[0]).toMatch(/^1:\d+ nested too deep/)
    for (const text of [
      '['.repeat(5_000),
      '{a: '.repeat(5_000),
      '- '.repeat(5_000),
      `a: ${'['.repeat(80)}${']'.repeat(80)}`,
    ]) {
      expect(places(load(text)).length).toBeGreaterThan(0)
    }
  })

  test('many keys take time in proportion: all of them are looked at', () => {
    const people = Array.from({ length: 10_000 }, (_, index) => `  p${index}: {}`).join('\n')
    expect(places(load(`${head}people:\n${people}\n  p7: {}\n`))).toEqual(['10004:3 `p7` is here twice'])
  })
})

describe('secrets', () => {
  test('text is itself; a file is read when asked, without the newline that ends a line', () => {
    const dir = folder()
    const file = join(dir, 'token')
    expect(readSecret('a\n')).toBe('a\n')
    writeFileSync(file, 'first\n')
    expect(readSecret({ file })).toBe('first')
    writeFileSync(file, 'second\r\n')
    expect(readSecret({ file })).toBe('second')
    writeFileSync(file, 'with space \n\n')
    expect(readSecret({ file })).toBe('with space \n')
  })

  test('PEM is left as it is', () => {
    const file = join(folder(), 'key.pem')
    const pem = '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'
    writeFileSync(file, pem)
    expect(readSecret({ file })).toBe(pem)
  })

  test('a missing, empty or huge file is named, and nothing of it told', () => {
    const dir = folder()
    const file = join(dir, 'token')
    expect(() => readSecret({ file })).toThrow(`the secret file ${file} cannot be read`)
    writeFileSync(file, '\n')
    expect(() => readSecret({ file })).toThrow(`the secret file ${file} is empty`)
    writeFileSync(file, 'x'.repeat(1024 * 1024 + 1))
    expect(() => readSecret({ file })).toThrow('larger than 1 MiB')
    mkdirSync(join(dir, 'sub'))
    expect(() => readSecret({ file: join(dir, 'sub') })).toThrow('cannot be read')
  })

  test('a record with a key `file` is not taken for a secret file', () => {
    const loaded = load(
      `${head}issuers: { i: { platform: oidc, url: https://i.test } }\nconnections:\n  api: { type: http, url: https://a.test, headers: { file: x } }\nstages:\n  a: { subjects: [{ issuer: i, claims: { file: x } }] }\n`,
    )
    expect(places(loaded)).toEqual([])
    if ('faults' in loaded) return
    expect(loaded.config.connections['api']).toMatchObject({ headers: { file: 'x' } })
    expect(loaded.config.stages['a']?.subjects?.[0]?.claims).toEqual({ file: 'x' })
  })
})

test('durations', () => {
  expect(['30s', '15m', '2h', '7d'].map(parseDuration)).toEqual([30_000, 900_000, 7_200_000, 604_800_000])
  for (const wrong of ['', '0m', '15', '1.5h', '15 m', '-1m', '15M', '1h30m', '9999999s', 's', '15m\n']) {
    expect(() => parseDuration(wrong)).toThrow('a duration is')
  }
})

test('faults are shown one a line, as editors and compilers read them', () => {
  const { faults } = checkConfig(join(folder(), 'x.yaml'), {})
  expect(renderFaults(faults)).toMatch(/^.*x\.yaml:1:1 there is no such file: --config names another\n$/)
})
