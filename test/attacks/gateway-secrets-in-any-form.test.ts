import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { secrets } from '../demo/shop.ts'
import { subjects } from '../flows/gateway-stack.ts'
import { type HttpJob, type HttpStack, startHttpStack } from '../flows/http-stack.ts'
import { type SshJob, type SshStack, startSshStack } from '../flows/ssh-stack.ts'
import { type Stack, psql, startStack } from '../flows/stack.ts'
import type { Job } from '../flows/gateway-stack.ts'
import { lacks } from '../servers/programs.ts'

// What the gateway uses for a job comes back in an answer, as it is or as some program has written it.

const gone = '[redacted:gateway-secret]'

describe.skipIf(lacks('psql'))('from PostgreSQL', () => {
  const password = secrets.ORDERS_RO_PASSWORD
  let stack: Stack
  let job: Job
  beforeAll(async () => {
    // A table that somebody has written the account's password into, which the query gives back in another form.
    stack = await startStack({
      seed: `CREATE TABLE scribbles (body text); INSERT INTO scribbles VALUES ('${password}'); GRANT SELECT ON scribbles TO ci_readonly;`,
    })
    job = await stack.open('test')
  })
  afterAll(() => stack.close())

  test.each([
    'body',
    'upper(body)',
    'reverse(body)',
    "encode(body::bytea, 'hex')",
    "upper(encode(body::bytea, 'hex'))",
    'body::bytea',
    "encode(body::bytea, 'base64')",
    "encode(('a' || body)::bytea, 'base64')",
    "encode(('ci:' || body)::bytea, 'base64')",
    "encode(encode(('ci:' || body)::bytea, 'base64')::bytea, 'base64')",
    'to_json(body)',
    'row_to_json(scribbles)',
    'to_json(to_json(body)::text)',
    'quote_literal(body)',
    'xmlelement(name x, body)::text',
    'scribbles',
    'ARRAY[body]',
    "replace(encode(body::bytea, 'hex'), '', '')",
    "regexp_replace(encode(body::bytea, 'hex'), '(..)', '%\\1', 'g')",
    "regexp_replace(encode(body::bytea, 'hex'), '(..)', '\\\\x\\1', 'g')",
    "regexp_replace(encode(body::bytea, 'hex'), '(..)(?=.)', '\\1 ', 'g')",
    "regexp_replace(encode(body::bytea, 'hex'), '(..)', '\\\\u00\\1', 'g')",
    "format('postgres://ci:%s@db/shop', body)",
  ])('SELECT %s', async (expression) => {
    const { out } = await psql(job, `SELECT ${expression} FROM scribbles`)
    expect(out).toMatch(/\[redacted:[a-z-]+\]/)
    expect(out.toLowerCase()).not.toContain(password.slice(3))
  })

  test('in an error, in a notice and in COPY', async () => {
    const { err } = await psql(job, 'SELECT body::int FROM scribbles')
    expect(err).toContain(gone)
    expect(err).not.toContain(password)
    const { out } = await psql(
      job,
      "COPY (SELECT body, encode(body::bytea, 'base64') FROM scribbles) TO STDOUT",
    )
    expect(out).toMatch(/^\[redacted:gateway-secret\]\t\[redacted:gateway-secret\].{0,2}\n$/)
  })
})

describe('over HTTP', () => {
  const token = 'upstream-secret-1234567890'
  const forms: Record<string, string | Buffer> = {
    echo: `{"headers":{"authorization":"Bearer ${token}"}}`,
    alone: `the token is ${token}.`,
    shouted: token.toUpperCase(),
    json: Array.from(token)
      .map((one) => `\\u00${one.charCodeAt(0).toString(16)}`)
      .join(''),
    percent: Array.from(token)
      .map((one) => `%${one.charCodeAt(0).toString(16)}`)
      .join(''),
    entities: Array.from(token)
      .map((one) => `&#${one.charCodeAt(0)};`)
      .join(''),
    hex: Buffer.from(token).toString('hex'),
    base64: Buffer.from(`x${token}`).toString('base64'),
    basic: Buffer.from(Buffer.from(`api:${token}`).toString('base64')).toString('base64'),
    wide: Buffer.from(token, 'utf16le'),
    powershell: Buffer.from(token, 'utf16le').toString('base64'),
  }
  let stack: HttpStack
  let job: HttpJob
  beforeAll(async () => {
    stack = await startHttpStack({
      stages: `  test:
    ${subjects}
    grants:
      - connection: api
        allow: [{ operations: [read], resources: ["/**"] }]
`,
      upstream: (request, response) => {
        const [name = '', zipped] = (request.url ?? '').split('/').at(-1)?.split('.') ?? []
        const body = Buffer.from(forms[name] ?? '')
        if (zipped !== undefined) response.setHeader('content-encoding', 'gzip')
        else if (!/[^\x20-\x7e]/.test(body.toString('latin1'))) response.setHeader('x-echo', body.toString())
        // In pieces, so that no chunk holds it whole.
        const sent = zipped === undefined ? body : gzipSync(body)
        response.write(sent.subarray(0, 9))
        setTimeout(() => response.end(sent.subarray(9)), 20)
      },
    })
    job = await stack.open('test')
  })
  afterAll(() => stack.close())

  test.each(Object.keys(forms).flatMap((name) => [name, `${name}.gz`]))('%s', async (name) => {
    const { status, headers, body } = await job.request('GET', `/http/api/${name}`)
    expect(status).toBe(200)
    const form = Buffer.from(forms[name.split('.')[0] ?? ''] ?? '').toString('latin1')
    expect(body).toContain('[redacted:')
    expect(body).not.toContain(form.slice(-20))
    expect(JSON.stringify(headers)).not.toContain(JSON.stringify(form.slice(-20)).slice(1, -1))
  })
})

test('what the file of a secret was renewed with is known from its first use on', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-renewed-'))
  const file = join(folder, 'key')
  const keys = ['weak-but-long-key-1', 'weak-but-long-key-2', 'weak-but-long-key-3']
  await writeFile(file, `${keys[0]}\n`)
  const stack = await startHttpStack({
    stages: `  test:
    ${subjects}
    grants:
      - connection: renewed
        allow: [{ operations: [read], resources: ["/**"] }]
`,
    connections: (url) =>
      `  renewed: { type: http, url: "${url}/", headers: { x-key: { file: ${file} } }, ca: { file: api-ca.pem } }`,
    upstream: (request, response) =>
      response.end(`yours is ${String(request.headers['x-key'])}, not ${keys.join()}`),
  })
  try {
    for (const [turn, key] of keys.entries()) {
      await writeFile(file, `${key}\n`)
      const job = await stack.open('test')
      const { body } = await job.request('GET', '/http/renewed/key')
      expect(stack.seen.at(-1)?.headers['x-key']).toBe(key)
      const shown = keys.map((one, at) => (at <= turn ? gone : one))
      expect(body).toBe(`yours is ${gone}, not ${shown.join()}`)
    }
  } finally {
    await stack.close()
    await rm(folder, { recursive: true })
  }
})

describe.skipIf(lacks('ssh', 'sshd', 'xxd', 'od'))('over SSH', () => {
  let stack: SshStack
  let job: SshJob
  let line = ''
  beforeAll(async () => {
    stack = await startSshStack({
      stages: `  any:
    ${subjects}
    grants:
      - connection: web-1
        allow: [{ operations: [exec] }]
`,
      more: 'detectors: { default: false }\n',
    })
    job = await stack.open('any')
    line = (await readFile(stack.sshd.privateKey, 'utf8')).split('\n')[2] ?? ''
  })
  afterAll(() => stack.close())

  test.each([
    'sed -n 3p KEY',
    'cat KEY',
    'sed 1d KEY',
    'sed -n 3p KEY | rev',
    'sed -n 3p KEY | base64 -w0',
    'sed -n 3p KEY | xxd -p -c 256',
    'sed -n 3p KEY | xxd -u -p -c 256',
    'sed -n 3p KEY | tr -d "\\n" | od -An -v -tx1 -w256',
    'sed -n 3p KEY | iconv -t UTF-16LE',
    'sed -n 3p KEY | gzip | gunzip',
    'sed -n 3p KEY >&2',
  ])('%s', async (command) => {
    const { out, err } = await job.ssh('web-1', command.replace('KEY', stack.sshd.privateKey))
    expect(line.length).toBeGreaterThan(40)
    expect(out + err).toContain(gone)
    expect(out + err).not.toContain(line)
  })
})
