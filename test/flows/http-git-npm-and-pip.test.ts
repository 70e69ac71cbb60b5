import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { type HttpJob, type HttpStack, startHttpStack } from './http-stack.ts'
import { run } from './stack.ts'

let folder: string
let stack: HttpStack
let job: HttpJob

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hoop-git-'))
  const git = (...args: string[]): void => void execFileSync('git', args, { cwd: folder, stdio: 'ignore' })
  git('init', '--bare', '-b', 'main', 'shop.git')
  git('-C', 'shop.git', 'config', 'http.receivepack', 'true')
  mkdirSync(join(folder, 'package'))
  writeFileSync(join(folder, 'package/package.json'), '{"name":"left-pad-of-ours","version":"1.0.0"}')
  writeFileSync(join(folder, 'package/index.js'), 'module.exports = 7\n')
  execFileSync('tar', ['-czf', 'package.tgz', 'package'], { cwd: folder })
  makeWheel()
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: api
        allow:
          - { operations: [read], resources: ["/git/**", "/npm/**", "/pypi/**"] }
          - { operations: [POST], resources: ["/git/shop.git/git-upload-pack", "/git/shop.git/git-receive-pack"] }
          - { operations: [PUT], resources: ["/npm/@ours/**"] }
          - { operations: [POST], resources: ["/pypi/legacy/"] }
  tokens:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    binding: token
    grants:
      - connection: api
        allow:
          - { operations: [read, PUT], resources: ["/npm/@ours/**"] }
          - { operations: [POST], resources: ["/pypi/legacy/"] }
`,
    upstream: (request, response) =>
      request.url?.startsWith('/base/git/') === true
        ? httpBackend(request, response)
        : request.url?.startsWith('/base/pypi/') === true
          ? index(request, response)
          : registry(request, response),
  })
  job = await stack.open('test')
}, 60_000)

afterAll(async () => {
  await stack.close()
  rmSync(folder, { recursive: true, force: true })
})

test.skipIf(lacks('git'))('git clones, commits and pushes over HTTPS', async () => {
  const at = (name: string): string => join(job.home, name)
  const env = { GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0' }
  const tls = ['-c', `http.sslCAInfo=${at('ca.pem')}`, '-c', `http.sslCert=${at('client.crt')}`]
  const who = [
    '-c',
    `http.sslKey=${at('client.key')}`,
    '-c',
    'user.name=ci',
    '-c',
    'user.email=ci@shop.example',
  ]
  const git = (...args: string[]) => run('git', [...tls, ...who, ...args], env)
  const url = `https://localhost:${stack.port}/http/api/git/shop.git`
  const clone = join(folder, 'clone')
  expect(await git('clone', url, clone)).toMatchObject({ code: 0 })
  writeFileSync(
    join(clone, 'large.bin'),
    Buffer.from(Array.from({ length: 2_000_000 }, (_, i) => (i * i * 31) % 251)),
  )
  await git('-C', clone, 'add', '.')
  await git('-C', clone, 'commit', '-m', 'one')
  expect(await git('-C', clone, 'push', 'origin', 'HEAD:main')).toMatchObject({ code: 0 })
  const again = join(folder, 'again')
  expect(await git('clone', '-b', 'main', url, again)).toMatchObject({ code: 0 })
  expect(readFileSync(join(again, 'large.bin'))).toEqual(readFileSync(join(clone, 'large.bin')))
})

test.skipIf(lacks('git'))(
  'npm installs from a registry behind it',
  async () => {
    const at = (name: string): string => join(job.home, name)
    const project = join(folder, 'project')
    mkdirSync(project)
    writeFileSync(join(project, 'package.json'), '{"name":"project","version":"1.0.0"}')
    const pem = (name: string): string => readFileSync(at(name), 'utf8').trim()
    const base = `//localhost:${stack.port}/http/api/npm/`
    writeFileSync(
      join(project, '.npmrc'),
      `registry=https:${base}\ncafile=${at('ca.pem')}\n${base}:certfile=${at('client.crt')}\n${base}:keyfile=${at('client.key')}\naudit=false\nfund=false\ncache=${join(folder, 'cache')}\n`,
    )
    expect(pem('client.crt')).toContain('BEGIN CERTIFICATE')
    for (const name of ['left-pad-of-ours', '@ours/left-pad']) {
      const npm = await run('npm', ['install', name, '--prefix', project], {
        NPM_CONFIG_USERCONFIG: join(project, '.npmrc'),
      })
      expect(npm).toMatchObject({ code: 0 })
      expect(readFileSync(join(project, 'node_modules', name, 'index.js'), 'utf8')).toContain('7')
    }
    // npm asks for the scope with an escaped slash; what was decided on is what was sent.
    const asked = stack.seen.map(({ line }) => line)
    expect(asked).toContain('GET /base/npm/@ours/left-pad')
    expect(asked.filter((line) => line.includes('%'))).toEqual([])
  },
  60_000,
)

test.skipIf(lacks('git', 'pip'))(
  'pip installs from an index behind it',
  async () => {
    const at = (name: string): string => join(job.home, name)
    const both = join(folder, 'both.pem')
    writeFileSync(both, readFileSync(at('client.crt'), 'utf8') + readFileSync(at('client.key'), 'utf8'))
    const into = join(folder, 'site')
    const pip = await run(
      'pip',
      [
        'install',
        '--isolated',
        '--no-cache-dir',
        '--no-deps',
        '--disable-pip-version-check',
        '--cert',
        at('ca.pem'),
        '--client-cert',
        both,
        '--target',
        into,
        '--index-url',
        `https://localhost:${stack.port}/http/api/pypi/simple/`,
        'ours-seven',
      ],
      {},
    )
    expect(pip).toMatchObject({ code: 0 })
    expect(readFileSync(join(into, 'ours_seven.py'), 'utf8')).toContain('seven = 7')
  },
  120_000,
)

test.skipIf(lacks('git'))(
  'npm publishes what its rule names, and what was published can be installed',
  async () => {
    const at = (name: string): string => join(job.home, name)
    const base = `//localhost:${stack.port}/http/api/npm/`
    const userconfig = join(folder, 'publish.npmrc')
    writeFileSync(
      userconfig,
      `registry=https:${base}\ncafile=${at('ca.pem')}\n${base}:certfile=${at('client.crt')}\n${base}:keyfile=${at('client.key')}\naudit=false\nfund=false\ncache=${join(folder, 'cache')}\n`,
    )
    const npm = (...args: string[]) => run('npm', args, { NPM_CONFIG_USERCONFIG: userconfig })
    const made = (name: string): string => {
      const at = join(folder, name.replace('/', '-'))
      mkdirSync(at)
      writeFileSync(join(at, 'package.json'), JSON.stringify({ name, version: '2.0.0' }))
      writeFileSync(join(at, 'index.js'), 'module.exports = 8\n')
      return at
    }
    expect(await npm('publish', made('@ours/eight'))).toMatchObject({ code: 0 })
    expect([...published.keys()]).toEqual(['@ours/eight'])
    const project = join(folder, 'uses-eight')
    mkdirSync(project)
    expect(await npm('install', '@ours/eight', '--prefix', project)).toMatchObject({ code: 0 })
    expect(readFileSync(join(project, 'node_modules/@ours/eight/index.js'), 'utf8')).toContain('8')
    const refused = await npm('publish', made('@theirs/eight'))
    expect(refused.code).not.toBe(0)
    expect(refused.err).toContain('403')
    expect([...published.keys()]).toEqual(['@ours/eight'])
    const [kept] = await stack.recorded('PUT /npm/@theirs/eight')
    expect(kept).toMatchObject({ kind: 'request', effect: 'deny' })
  },
  120_000,
)

test.skipIf(lacks('git', 'twine'))(
  'twine uploads to an index behind it',
  async () => {
    const at = (name: string): string => join(job.home, name)
    const both = join(folder, 'twine.pem')
    writeFileSync(both, readFileSync(at('client.crt'), 'utf8') + readFileSync(at('client.key'), 'utf8'))
    const wheel = join(folder, 'pypi/ours_seven-1.0-py3-none-any.whl')
    const upload = (path: string) =>
      run(
        'twine',
        [
          'upload',
          // Else versions before 5.1 ask for both, whatever the certificate says.
          '--username=',
          '--password=',
          '--non-interactive',
          '--disable-progress-bar',
          '--config-file',
          join(folder, 'none.pypirc'),
          '--repository-url',
          `https://localhost:${stack.port}/http/api/pypi/${path}`,
          '--cert',
          at('ca.pem'),
          '--client-cert',
          both,
          wheel,
        ],
        {},
      )
    writeFileSync(join(folder, 'none.pypirc'), '')
    const done = await upload('legacy/')
    expect(`${done.out}${done.err}`).not.toMatch(/error/i)
    expect(done.code).toBe(0)
    expect(uploaded).toEqual([readFileSync(wheel)])
    expect((await upload('other/')).code).not.toBe(0)
    expect(uploaded).toHaveLength(1)
  },
  120_000,
)

/** Of an identity of a stage, the token that alone is enough where the stage says so. */
async function tokenOf(stage: string): Promise<{ home: string; token: string }> {
  const { home } = await stack.open(stage)
  return { home, token: readFileSync(join(home, 'token'), 'utf8').trim() }
}

test.skipIf(lacks('git', 'twine'))(
  'twine uploads with the token as TWINE_PASSWORD, where the stage lets the token alone do',
  async () => {
    const wheel = join(folder, 'pypi/ours_seven-1.0-py3-none-any.whl')
    writeFileSync(join(folder, 'none.pypirc'), '')
    const url = `https://localhost:${stack.port}/http/api/pypi/legacy/`
    const upload = async (stage: string) => {
      const { home, token } = await tokenOf(stage)
      const options = [
        '--non-interactive',
        '--disable-progress-bar',
        '--config-file',
        join(folder, 'none.pypirc'),
      ]
      const env = { TWINE_USERNAME: 'job', TWINE_PASSWORD: token }
      stack.seen.length = 0
      const done = await run(
        'twine',
        ['upload', ...options, '--repository-url', url, '--cert', join(home, 'ca.pem'), wheel],
        env,
      )
      expect(`${done.out}${done.err}`).not.toContain(token)
      return done
    }
    const before = uploaded.length
    expect(await upload('tokens')).toMatchObject({ code: 0 })
    expect(uploaded.slice(before)).toEqual([readFileSync(wheel)])
    expect(stack.seen.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer upstream-secret-1234567890',
    ])
    const refused = await upload('test')
    expect(refused.code).not.toBe(0)
    expect(`${refused.out}${refused.err}`).toContain('401')
    expect(stack.seen).toEqual([])
  },
  120_000,
)

test.skipIf(lacks('git'))(
  'npm publishes with the token as _authToken, where the stage lets the token alone do',
  async () => {
    const publishAs = async (stage: string, name: string) => {
      const { home, token } = await tokenOf(stage)
      const base = `//localhost:${stack.port}/http/api/npm/`
      const userconfig = join(folder, `${stage}.npmrc`)
      writeFileSync(
        userconfig,
        `registry=https:${base}\ncafile=${join(home, 'ca.pem')}\n${base}:_authToken=${token}\ncache=${join(folder, 'cache')}\n`,
      )
      const at = join(folder, `${stage}-package`)
      mkdirSync(at)
      writeFileSync(join(at, 'package.json'), JSON.stringify({ name, version: '3.0.0' }))
      stack.seen.length = 0
      return run('npm', ['publish', at], { NPM_CONFIG_USERCONFIG: userconfig })
    }
    expect(await publishAs('tokens', '@ours/nine')).toMatchObject({ code: 0 })
    expect(published.has('@ours/nine')).toBe(true)
    expect(new Set(stack.seen.map(({ headers }) => headers.authorization))).toEqual(
      new Set(['Bearer upstream-secret-1234567890']),
    )
    expect((await publishAs('test', '@ours/ten')).code).not.toBe(0)
    expect(published.has('@ours/ten')).toBe(false)
    expect(stack.seen).toEqual([])
  },
  120_000,
)

/** A simple index (PEP 503) of one wheel, as files on disk. */
function makeWheel(): void {
  const name = 'ours_seven-1.0.dist-info'
  const wheel = `import base64, hashlib, os, sys, zipfile
folder = sys.argv[1]
os.makedirs(folder)
files = {
  "ours_seven.py": "seven = 7\\n",
  "${name}/METADATA": "Metadata-Version: 2.1\\nName: ours-seven\\nVersion: 1.0\\n",
  "${name}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
}
files["${name}/RECORD"] = "".join(f"{n},," + "\\n" for n in files) + "${name}/RECORD,,\\n"
with zipfile.ZipFile(os.path.join(folder, "ours_seven-1.0-py3-none-any.whl"), "w") as z:
  for n, t in files.items(): z.writestr(n, t)
`
  execFileSync('python3', ['-c', wheel, join(folder, 'pypi')])
}

function index(request: IncomingMessage, response: ServerResponse): void {
  if (request.method === 'POST') return void legacyUpload(request, response)
  if (request.url === '/base/pypi/simple/ours-seven/') {
    response.writeHead(200, { 'content-type': 'text/html' })
    return void response.end(
      '<a href="../../files/ours_seven-1.0-py3-none-any.whl">ours_seven-1.0-py3-none-any.whl</a>',
    )
  }
  if (request.url === '/base/pypi/simple/ours-seven')
    return void response.writeHead(301, { location: '/base/pypi/simple/ours-seven/' }).end()
  response.writeHead(200, { 'content-type': 'application/octet-stream' })
  response.end(readFileSync(join(folder, 'pypi/ours_seven-1.0-py3-none-any.whl')))
}

/** What was uploaded as PyPI's legacy API has it: `POST` of a form with the metadata, digests and the file. */
const uploaded: Buffer[] = []

async function legacyUpload(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const type = request.headers['content-type'] ?? ''
  const form = await new Response(await bodyOf(request), { headers: { 'content-type': type } }).formData()
  const content = form.get('content')
  const file = content instanceof File ? Buffer.from(await content.arrayBuffer()) : null
  const hash = (name: string): string =>
    createHash(name)
      .update(file ?? '')
      .digest('hex')
  const right =
    file !== null &&
    form.get(':action') === 'file_upload' &&
    form.get('protocol_version') === '1' &&
    form.get('filetype') === 'bdist_wheel' &&
    form.get('name') === 'ours-seven' &&
    form.get('version') === '1.0' &&
    form.get('md5_digest') === hash('md5') &&
    form.get('sha256_digest') === hash('sha256')
  if (right) uploaded.push(file)
  response.writeHead(right ? 200 : 400).end()
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) if (Buffer.isBuffer(chunk)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Packages that were published: the document of each, and its tarball. */
const published = new Map<string, { readonly document: PublishedDocument; readonly tarball: Buffer }>()

interface PublishedDocument {
  readonly _id: string
  readonly name: string
  readonly versions: Readonly<
    Record<
      string,
      { name: string; version: string; dist: { integrity: string; shasum: string; tarball: string } }
    >
  >
  readonly _attachments: Readonly<Record<string, { content_type: string; data: string; length: number }>>
}

/** `PUT` of one version with its tarball, as a registry checks it. */
async function publish(name: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const document = JSON.parse((await bodyOf(request)).toString()) as PublishedDocument
  const [version] = Object.values(document.versions)
  const [attached] = Object.values(document._attachments)
  const tarball = Buffer.from(attached?.data ?? '', 'base64')
  const digest = (algorithm: string, as: 'hex' | 'base64'): string =>
    createHash(algorithm).update(tarball).digest(as)
  const right =
    request.headers['content-type'] === 'application/json' &&
    document._id === name &&
    version?.name === name &&
    attached?.length === tarball.byteLength &&
    version.dist.shasum === digest('sha1', 'hex') &&
    version.dist.integrity === `sha512-${digest('sha512', 'base64')}`
  if (right) published.set(name, { document, tarball })
  response.writeHead(right ? 201 : 400, { 'content-type': 'application/json' }).end('{"ok":true}')
}

/** A registry of two packages, and of those that are published to it. */
function registry(request: IncomingMessage, response: ServerResponse): void {
  const asked = (request.url ?? '').slice('/base/npm/'.length)
  if (request.method === 'PUT') return void publish(asked, request, response)
  const [wanted = ''] = asked.split('/-/')
  const known = published.get(wanted)
  if (known !== undefined && asked !== wanted) return void response.end(known.tarball)
  if (known !== undefined) {
    response.writeHead(200, { 'content-type': 'application/json' })
    const { document } = known
    return void response.end(JSON.stringify({ ...document, _attachments: undefined }))
  }
  if (asked.startsWith('@') && asked !== '@ours/left-pad' && !asked.endsWith('.tgz'))
    return void response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"not found"}')
  const bytes = readFileSync(join(folder, 'package.tgz'))
  if (request.url?.endsWith('.tgz') === true) {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length })
    return void response.end(bytes)
  }
  const name = (request.url ?? '').slice('/base/npm/'.length)
  const dist = {
    tarball: `https://localhost:${stack.port}/http/api/npm/${name}/-/left-pad-1.0.0.tgz`,
    integrity: `sha512-${createHash('sha512').update(bytes).digest('base64')}`,
  }
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(
    JSON.stringify({
      name,
      'dist-tags': { latest: '1.0.0' },
      versions: { '1.0.0': { name, version: '1.0.0', dist } },
    }),
  )
}

/** Git's own CGI (git-http-backend(1)). */
function httpBackend(request: IncomingMessage, response: ServerResponse): void {
  const { pathname, search } = new URL(request.url ?? '', 'https://localhost')
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH ?? '',
      GIT_PROJECT_ROOT: folder,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: pathname.slice('/base/git'.length),
      QUERY_STRING: search.slice(1),
      REQUEST_METHOD: request.method ?? '',
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
      REMOTE_USER: 'ci',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  request.pipe(child.stdin)
  const out: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.once('close', () => {
    const all = Buffer.concat(out)
    const end = all.indexOf('\r\n\r\n')
    const headers = all
      .subarray(0, end)
      .toString()
      .split('\r\n')
      .map((line) => line.split(': '))
    const status = Number(headers.find(([name]) => name === 'Status')?.[1]?.slice(0, 3) ?? 200)
    response.writeHead(status, Object.fromEntries(headers.filter(([name]) => name !== 'Status')))
    response.end(all.subarray(end + 4))
  })
}
