import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openJobFiles } from '../../gateway/api/job-files.ts'
import { startGatewayApi } from '../fakes/gateway-api.ts'
import { root } from '../servers/gateway.ts'
import { fetchExecutable as fetchWith, type Image, pathOf } from '../servers/image.ts'
import { type BuiltPlugins, buildPlugins } from '../servers/job-files.ts'
import { lacks, told } from '../servers/programs.ts'
import { type Ran, run, type Stack, startStack } from './stack.ts'

const hasBusybox = spawnSync('busybox', ['true']).status === 0
const shells = [['sh', [] as string[]], ...(hasBusybox ? [['busybox', ['ash']] as const] : [])] as const

let folder: string
let built: BuiltPlugins
let stack: Stack
let otherCa: string

// A stand-in for the executable with a Node of its own: what the script does with it is the same, and it is 45 MB smaller.
const standIn = gzipSync('#!/bin/sh\necho "self-contained $1"\n')
const kind = `hoop-access-linux-${process.arch}`
const standInName = `${kind}.gz`
/** As musl's loader does: it tells each thing that it misses, and only the first line says why. */
const lacking = (library: string): Buffer =>
  gzipSync(`#!/bin/sh
case $LD_LIBRARY_PATH in */lib*) [ -e "\${LD_LIBRARY_PATH%%:*}/${library}" ] && echo "musl, with a library: $1" && exit 0 ;; esac
echo "Error loading shared library ${library}" >&2
echo "Error relocating: symbol not found" >&2
exit 127
`)
const musl = { program: lacking('libstdc++.so.6'), library: gzipSync('a library\n') }
const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex')

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hoop-job-files-'))
  built = await buildPlugins(folder)
  const offered = join(folder, 'offered')
  await built.offer(offered)
  await writeFile(join(offered, 'client', `${sha256(standIn)}-${standInName}`), standIn)
  await writeFile(join(offered, 'client', `${sha256(musl.program)}-${kind}-musl.gz`), musl.program)
  await writeFile(
    join(offered, 'client', `${sha256(musl.library)}-${kind}-musl+libstdc++.so.6.gz`),
    musl.library,
  )
  const api = await startGatewayApi()
  otherCa = join(folder, 'other.pem')
  await writeFile(otherCa, api.caPem)
  await api.close()
  stack = await startStack({
    prepare: (data) => void spawnSync('cp', ['-r', `${offered}/.`, data]),
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

describe.skipIf(lacks('curl', 'wget')).for(shells)('in %s', (shell) => {
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

  describe('on musl', () => {
    /** What musl's ldd says when it is asked for its version. */
    const ldd = async (): Promise<string> => {
      const path = join(place, 'ldd')
      await writeFile(path, '#!/bin/sh\necho "musl libc (x86_64)" >&2\nexit 1\n')
      await chmod(path, 0o755)
      return path
    }
    const program = `${sha256(musl.program)}:${kind}-musl.gz`
    const library = `${sha256(musl.library)}:${kind}-musl+libstdc++.so.6.gz`

    test('the one for musl, with the libraries that the image lacks', async () => {
      const pins = `${pinsOf(built)} ${program} ${library}`
      const image = { programs: ['curl', await ldd()], shell, pins }
      const { code, err, program: path } = await fetchExecutable(image)
      expect(err).toBe('')
      expect(code).toBe(0)
      expect((await run(path, ['open'], {})).out).toBe('musl, with a library: open\n')
      expect((await stat(path)).mode & 0o777).toBe(0o700)
    })

    test.for([
      ['that is pinned nowhere', '', `pins no digest of ${kind}-musl.gz`, 'hoop-access client build'],
      ['without its libraries', program, 'Error loading shared library libstdc++.so.6\n', '--library'],
      [
        'whose library was changed',
        `${program} ${'0'.repeat(64)}:${kind}-musl+libstdc++.so.6.gz`,
        'cannot be fetched',
        'hoop-access client build',
      ],
    ] as const)('one %s: said, with what to do', async ([, pins, why, next]) => {
      const { code, err } = await fetchExecutable({ programs: ['curl', await ldd()], shell, pins })
      expect(code).toBe(1)
      expect(err).toContain(why)
      expect(err).toMatch(new RegExp(`\n  next: .*${next}`))
      expect(err.match(/\n/g)?.length).toBe(why === 'cannot be fetched' ? 3 : 2)
    })
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

test.skipIf(lacks('curl', 'wget')).for([
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

test.skipIf(lacks('curl', 'wget')).for([
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

test.skipIf(lacks('curl', 'wget'))(
  'a folder that is there already, which may be anyone’s, is not used',
  async () => {
    await mkdir(join(place, 'bin'))
    const { code, err } = await fetchExecutable({ programs: ['curl', process.execPath] })
    expect(code).toBe(1)
    expect(err).toContain('cannot make')
  },
)

describe('by Node, where there is no POSIX shell', () => {
  const script = join(root, 'jenkins-shim/resources/access/hoop/fetch.cjs')
  const fetchByNode = (more: Record<string, string> = {}): Promise<Ran> =>
    run(process.execPath, [script], {
      HOOP_GATEWAY: stack.url,
      HOOP_CA: stack.gateway.pin,
      HOOP_ACCESS_PINS: pinsOf(built),
      HOOP_ACCESS_PARENT: join(place, 'a folder'),
      ...more,
    })

  test.for(['the pin', 'the CA as a file'])('one file, by %s, and a command for cmd.exe', async (how) => {
    const { out, err, code } = await fetchByNode(
      how === 'the pin' ? {} : { HOOP_CA: join(stack.data, 'ca.pem') },
    )
    expect({ err, code }).toEqual({ err: '', code: 0 })
    const bin = join(out.trim(), 'bin')
    expect((await stat(out.trim())).mode & 0o777).toBe(0o700)
    expect(sha256(await readFile(join(bin, 'hoop-access.cjs')))).toBe(built.files[0]?.sha256)
    expect(await readFile(join(bin, 'hoop-access.cmd'), 'utf8')).toBe(
      `@"${process.execPath}" "%~dp0hoop-access.cjs" %*\r\n`,
    )
    expect((await run(process.execPath, [join(bin, 'hoop-access.cjs'), '--help'], {})).code).toBe(0)
  })

  test.for([
    ['another CA as a file', { HOOP_CA: 'other' }, 'cannot be fetched'],
    ['the system’s CAs', { HOOP_CA: '' }, 'cannot be fetched'],
    ['no digest', { HOOP_ACCESS_PINS: '' }, 'pins no digest of hoop-access.cjs'],
    ['a digest that it has not', { HOOP_ACCESS_PINS: `${'0'.repeat(64)}:hoop-access.cjs` }, '(status 404)'],
  ] as const)('with %s: said, and nothing is left', async ([, more, why]) => {
    const given = 'HOOP_CA' in more && more.HOOP_CA === 'other' ? { HOOP_CA: otherCa } : more
    const { out, err, code } = await fetchByNode(given)
    expect({ out, code }).toEqual({ out: '', code: 1 })
    expect(err).toMatch(/^hoop-access: .+\n {2}next: .+\n$/)
    expect(err).toContain(why)
    expect(existsSync(join(place, 'a folder'))).toBe(false)
  })

  test('a file that is not the pinned one is not kept', async () => {
    const file = join(stack.data, 'client', `${built.files[0]?.sha256}-hoop-access.cjs`)
    const good = await readFile(file)
    await writeFile(file, "console.log('poisoned')\n")
    try {
      const { out, err, code } = await fetchByNode()
      expect({ out, code }).toEqual({ out: '', code: 1 })
      expect(err).toContain('it was not run')
      expect(existsSync(join(place, 'a folder'))).toBe(false)
    } finally {
      await writeFile(file, good)
    }
  })
})

describe('what the gateway serves', () => {
  const ask = (path: string, ...args: string[]): Promise<Ran> =>
    run('curl', ['-sS', '--cacert', join(stack.data, 'ca.pem'), ...args, `${stack.url}${path}`], {})
  const addressed = (): string => `/client/${built.files[0]?.sha256}/hoop-access.cjs`

  test.skipIf(lacks('curl', 'wget'))(
    'by digest: for good, with its length, also to HEAD, and not again to who has it',
    async () => {
      const { out: head } = await ask(addressed(), '-I')
      expect(head).toMatch(/^HTTP\/2 200/)
      expect(head).toContain(`content-length: ${built.files[0]?.size}`)
      expect(head).toContain('cache-control: public, max-age=31536000, immutable')
      const etag = `"${built.files[0]?.sha256}"`
      expect(head).toContain(`etag: ${etag}`)
      expect((await ask(addressed(), '-I', '-H', `If-None-Match: W/"x", ${etag}`)).out).toMatch(
        /^HTTP\/2 304/,
      )
      expect(
        (await ask(addressed(), '-D', '-', '-o', '/dev/null', '-H', `If-None-Match: ${etag}`)).out,
      ).toMatch(/^HTTP\/2 304/)
      const { out } = await ask(addressed())
      expect(sha256(Buffer.from(out))).toBe(built.files[0]?.sha256)
    },
  )

  test
    .skipIf(lacks('curl', 'wget'))
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

describe('client build', () => {
  const hoop = (args: readonly string[]): Promise<Ran> => {
    const how = ['--executable', join(folder, 'client/hoop-access.cjs'), '--out', place]
    return run(process.execPath, [join(root, 'bin/hoop-access.ts'), 'client', 'build', ...how, ...args], {})
  }

  test.for([
    ['a file that is no program', (): string => join(root, 'README.md'), 'not for Linux'],
    ['a program that is no Node', (): string => '/bin/sh', 'no Node that takes a program in'],
    ['a file that is not there', (): string => join(place, 'node'), 'cannot be read'],
  ] as const)('%s is wrong usage', async ([, path, why]) => {
    const { code, err, out } = await hoop(['--node', path()])
    expect(err).toContain(why)
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect((await readdir(place)).filter((name) => name.includes('hoop-access'))).toEqual([])
  })

  test('a Node of another version is refused, because what is put in is good for one version', async () => {
    const other = join(place, 'node')
    const content = await readFile(process.execPath)
    for (let at = content.indexOf('/node-v'); at !== -1; at = content.indexOf('/node-v', at + 1))
      content.write('/node-v24.0.99', at)
    await writeFile(other, content)
    const { code, err } = await hoop(['--node', other])
    expect(err).toContain(`is Node v24.0.99, and this is ${process.version}`)
    expect(code).toBe(2)
  })

  test('a library that nothing loads by its name is refused', async () => {
    const stray = join(place, 'libstray.so.1')
    await writeFile(stray, await readFile(process.execPath))
    const { code, err } = await hoop(['--node', process.execPath, '--library', stray])
    expect(err).toContain('nothing loads it by this name, but ')
    expect(code).toBe(2)
  })
})

// The whole road, with what a small image has.
test.skipIf(
  lacks('psql') || told(process.platform === 'linux' && process.arch === 'x64' ? null : 'not Linux on x64'),
)(
  'an image without Node: the executable with its own opens, reads through the gateway and closes',
  { timeout: 600_000 },
  async () => {
    // As an operator makes it, into the folder of a gateway that runs; the release's build does the same.
    const from = ['--node', process.execPath, '--executable', join(folder, 'client/hoop-access.cjs')]
    const made = await stack.operator('client', 'build', ...from)
    expect(made.code, made.err).toBe(0)
    const [, digest, name] = /^([0-9a-f]{64}):(hoop-access-linux-x64\.gz)\n$/.exec(made.out) ?? []
    expect((await stat(join(stack.data, 'client', `${digest}-${name}`))).size).toBeLessThan(60_000_000)
    const { err, program } = await fetchExecutable({ programs: ['curl'], pins: made.out.trim() })
    expect(err).toBe('')
    const home = join(place, 'home')
    const env = {
      PATH: await pathOf(join(place, 'bin'), ['psql', 'env', 'perl']),
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
