import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openJobFiles } from '../../gateway/api/job-files.ts'
import { startGatewayApi } from '../fakes/gateway-api.ts'
import { root } from '../servers/gateway.ts'
import { fetchExecutable as fetchWith, type Image, pathOf } from '../servers/image.ts'
import { type BuiltPlugins, buildPlugins } from '../servers/job-files.ts'
import { has } from '../servers/programs.ts'
import { hasPsql, type Ran, run, type Stack, startStack } from './stack.ts'

const hasFetchers = has('curl', 'wget')
const hasBusybox = spawnSync('busybox', ['true']).status === 0
const shells = [['sh', [] as string[]], ...(hasBusybox ? [['busybox', ['ash']] as const] : [])] as const

let folder: string
let built: BuiltPlugins
let stack: Stack
let otherCa: string

// A stand-in for the executable with a Node of its own: what the script does with it is the same, and it is 45 MB smaller.
const standIn = gzipSync('#!/bin/sh\necho "self-contained $1"\n')
const standInName = `hoop-access-linux-${process.arch}.gz`
const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex')

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hoop-job-files-'))
  built = await buildPlugins(folder)
  const offered = join(folder, 'offered')
  await built.offer(offered)
  await writeFile(join(offered, 'client', `${sha256(standIn)}-${standInName}`), standIn)
  const api = await startGatewayApi()
  otherCa = join(folder, 'other.pem')
  await writeFile(otherCa, api.caPem)
  await api.close()
  stack = await startStack({
    prepare: (data) => spawnSync('cp', ['-r', `${offered}/.`, data]).status,
  })
})
afterAll(async () => {
  await stack.close()
  await rm(folder, { recursive: true, force: true })
})

let place: string
beforeEach(async () => {
  place = await mkdtemp(join(folder, 'job-'))
})
afterEach(() => rm(place, { recursive: true, force: true }))

/** Runs what the plugins run, as a job of such an image would; at this gateway and with its pins unless said otherwise. */
const fetchExecutable = (image: Partial<Image> & Pick<Image, 'programs'>): ReturnType<typeof fetchWith> =>
  fetchWith({ place, gateway: stack.url, ca: stack.gateway.pin, pins: pinsOf(built), ...image })

const pinsOf = ({ files }: BuiltPlugins): string =>
  [...files.map((file) => `${file.sha256}:${file.name}`), `${sha256(standIn)}:${standInName}`].join(' ')

describe.skipIf(!hasFetchers).for(shells)('in %s (needs curl and wget)', (shell) => {
  test.for(['curl', 'wget'])('with Node, by %s: one file, for its owner only', async (fetcher) => {
    const { code, err, program } = await fetchExecutable({ programs: [fetcher, process.execPath], shell })
    expect(err).toBe('')
    expect(code).toBe(0)
    expect((await stat(program)).mode & 0o777).toBe(0o700)
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
    expect((await run(program, ['--version'], {})).out).toBe(`${version}\n`)
  })

  test('without Node: the executable with its own', async () => {
    const { code, err, program } = await fetchExecutable({ programs: ['curl'], shell })
    expect(err).toBe('')
    expect(code).toBe(0)
    expect((await run(program, ['open'], {})).out).toBe('self-contained open\n')
  })

  test('with a Node that is too old: the executable with its own', async () => {
    const old = join(place, 'node')
    await writeFile(old, '#!/bin/sh\nexit 1\n')
    await chmod(old, 0o755)
    const { program } = await fetchExecutable({ programs: ['curl', old], shell })
    expect((await run(program, ['open'], {})).out).toBe('self-contained open\n')
  })

  test('an executable that the job names is what runs, and nothing is fetched', async () => {
    const { code, program } = await fetchExecutable({ programs: [], command: 'echo named it', shell })
    expect(code).toBe(0)
    expect((await run(program, ['open', 'a b'], {})).out).toBe('named it open a b\n')
  })
})

test.skipIf(!hasFetchers).for([
  ['the CA as a file', 'own', 0],
  ['another CA as a file', 'other', 1],
  ['the system’s CAs, which do not know the gateway’s', 'none', 1],
] as const)('curl verifies by %s', async ([, which, wanted]) => {
  const ca = { own: join(stack.data, 'ca.pem'), other: otherCa, none: '' }[which]
  const { code, err, program } = await fetchExecutable({ programs: ['curl', process.execPath], ca })
  expect(code).toBe(wanted)
  if (wanted === 0) return
  expect(err).toContain('cannot be fetched')
  expect(existsSync(program)).toBe(false)
})

test.skipIf(!hasFetchers).for([
  ['neither curl nor wget', { programs: [process.execPath] }, 'neither curl nor wget'],
  [
    'a copy of the plugin without digests',
    { programs: ['curl', process.execPath], pins: '' },
    'pins no digest',
  ],
  [
    'a gateway that never ran that version',
    { programs: ['curl', process.execPath], pins: `${'0'.repeat(64)}:hoop-access.cjs` },
    'cannot be fetched',
  ],
] as const)('%s: said, with what to do', async ([, image, why]) => {
  const { code, err, program } = await fetchExecutable(image)
  expect(code).toBe(1)
  expect(err).toContain(why)
  expect(err).toContain('next: ')
  expect(existsSync(program)).toBe(false)
})

test.skipIf(!hasFetchers)('a folder that is there already, which may be anyone’s, is not used', async () => {
  await mkdir(join(place, 'bin'))
  const { code, err } = await fetchExecutable({ programs: ['curl', process.execPath] })
  expect(code).toBe(1)
  expect(err).toContain('cannot make')
})

describe('what the gateway serves', () => {
  const ask = (path: string, ...args: string[]): Promise<Ran> =>
    run('curl', ['-sS', '--cacert', join(stack.data, 'ca.pem'), ...args, `${stack.url}${path}`], {})
  const addressed = (): string => `/client/${built.files[0]?.sha256}/hoop-access.cjs`

  test.skipIf(!hasFetchers)(
    'by digest: for good, with its length, also to HEAD, and not again to who has it',
    async () => {
      const { out: head } = await ask(addressed(), '-I')
      expect(head).toMatch(/^HTTP\/1.1 200/)
      expect(head).toContain(`content-length: ${built.files[0]?.size}`)
      expect(head).toContain('cache-control: public, max-age=31536000, immutable')
      const etag = `"${built.files[0]?.sha256}"`
      expect(head).toContain(`etag: ${etag}`)
      expect((await ask(addressed(), '-I', '-H', `If-None-Match: W/"x", ${etag}`)).out).toMatch(
        /^HTTP\/1.1 304/,
      )
      expect(
        (await ask(addressed(), '-D', '-', '-o', '/dev/null', '-H', `If-None-Match: ${etag}`)).out,
      ).toMatch(/^HTTP\/1.1 304/)
      const { out } = await ask(addressed())
      expect(sha256(Buffer.from(out))).toBe(built.files[0]?.sha256)
    },
  )

  test
    .skipIf(!hasFetchers)
    .for([
      '/client/hoop-access.js',
      `/client/${'0'.repeat(64)}/hoop-access.cjs`,
      '/client/..%2f..%2foperator.token',
      '/client/%2e%2e/operator.token',
      `/client/${'0'.repeat(64)}/..%2foperator.token`,
    ])('%s: nothing', async (path) => {
    const { out } = await ask(path, '--path-as-is', '-w', '\n%{http_code}')
    expect(out).toMatch(/\n404$/)
    expect(out).toContain('"code":"not_found"')
  })

  test('a newer gateway goes on serving the files that it had, of which it keeps a bounded number', async () => {
    const [builtFolder, kept] = [join(place, 'built'), join(place, 'kept')]
    await mkdir(builtFolder)
    const release = async (content: string): Promise<string> => {
      const file = { name: 'hoop-access.cjs', sha256: sha256(Buffer.from(content)), size: content.length }
      await writeFile(join(builtFolder, file.name), content)
      await writeFile(join(builtFolder, 'index.json'), JSON.stringify([file]))
      return file.sha256
    }
    const first = await release('first')
    await openJobFiles(builtFolder, kept)
    const second = await release('second')
    const files = await openJobFiles(builtFolder, kept)
    expect(files.current.map((file) => file.sha256)).toEqual([second])
    expect(await readFile(files.find(first, 'hoop-access.cjs')?.path ?? '', 'utf8')).toBe('first')
    expect(files.find(first, 'other.cjs')).toBeUndefined()
    for (let version = 0; version < 40; version++)
      await release(`v${version}`).then(() => openJobFiles(builtFolder, kept))
    expect((await openJobFiles(builtFolder, kept)).find(first, 'hoop-access.cjs')).toBeUndefined()
    expect(await openJobFiles(undefined, kept)).toMatchObject({ current: [] })
  })
})

test('it comes out the same, byte for byte, in another folder', async () => {
  const again = await buildPlugins(place)
  expect(again.files).toEqual(built.files)
})

// The whole road, with what a small image has. Says what is skipped: psql reaches the database.
test.skipIf(!hasPsql || process.platform !== 'linux' || process.arch !== 'x64')(
  'an image without Node: the executable with its own opens, reads through the gateway and closes',
  { timeout: 600_000 },
  async () => {
    const whole = await buildPlugins(join(place, 'whole'), true)
    const file = whole.files.find(({ name }) => name === 'hoop-access-linux-x64.gz')
    expect(file?.size).toBeLessThan(60_000_000)
    const program = join(place, 'hoop-access')
    spawnSync('sh', ['-c', `gzip -dc "${join(place, 'whole/client', file?.name ?? '')}" >"${program}"`])
    await chmod(program, 0o700)
    const home = join(place, 'home')
    const env = {
      PATH: await pathOf(place, ['psql', 'env', 'perl']),
      HOOP_HOME: home,
      HOOP_GATEWAY: stack.url,
      HOOP_CA: stack.gateway.pin,
      HOOP_ID_TOKEN: await stack.oidc.issue({ run_id: '777' }, { aud: stack.url }),
    }
    const opened = await run(program, ['open', '--platform', 'token', '--stage', 'test'], env)
    expect(opened.err).toContain('of stage test')
    expect(opened.code).toBe(0)
    const read = await run(program, ['exec', '--', 'psql', '-XAtc', 'SELECT 6 * 7'], env)
    expect(read.out, read.err).toBe('42\n')
    expect((await run(program, ['close'], env)).code).toBe(0)
    expect(existsSync(home)).toBe(false)
  },
)
