import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { ClientError, systemCode, wrongUsage } from '../client/error.ts'
import { type Elf, readElf } from './elf.ts'

// The executable for jobs with a Node of its own, for images that have none: a single executable application
// (https://nodejs.org/docs/latest-v24.x/api/single-executable-applications.html). It holds neither a snapshot nor compiled
// code, so that it is made on any machine for any other, and comes out the same, byte for byte, of the same two files.

const run = promisify(execFile)
const pack = promisify(gzip)
const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'
/** What the C library itself brings. */
const ofLibc = /^(ld-linux-|ld-musl-|libc\.|libc\.musl-|libm\.|libdl\.|libpthread\.|librt\.)/
const NODE_BYTES = 512 * 1024 * 1024

/** One file that a job fetches, by its name there. */
export interface Part {
  readonly name: string
  readonly content: Buffer
}

/** What was made, and what an image must still bring. */
export interface SelfContained {
  /** `linux-x64`, `linux-x64-musl` … */
  readonly platform: string
  /** The executable, then the libraries that go with it. */
  readonly parts: readonly Part[]
  /** Libraries, by name, that are neither the C library's nor among the parts. */
  readonly missing: readonly string[]
}

/**
 * Puts `file` (the executable for jobs, as one CommonJS file) into a Node for Linux, with libraries that it needs and an
 * image may lack. What it is for is read from the Node itself. Throws `ClientError` where that is not the Node that runs
 * this: the file is prepared by one, and good only for the same version.
 */
export async function makeSelfContained(
  file: string,
  node: string,
  libraries: readonly string[] = [],
): Promise<SelfContained> {
  const program = await readProgram(node)
  const { arch, libc, needed } = elfOf(program, node)
  if (libc === null) throw unfit(node, 'it is not a program of glibc or musl')
  checkVersion(program, node)
  const platform = `linux-${arch}${libc === 'musl' ? '-musl' : ''}`
  const given = await Promise.all(libraries.map((library) => readLibrary(library, arch)))
  const loaded = new Set([...needed, ...given.flatMap((library) => library.needed)])
  for (const { name, path } of given) {
    if (!loaded.has(name)) throw unfit(path, `nothing loads it by this name, but ${[...loaded].join(', ')}`)
  }
  const parts = [{ name: `hoop-access-${platform}.gz`, content: await inject(file, node) }]
  for (const { name, content } of given) parts.push({ name: `hoop-access-${platform}+${name}.gz`, content })
  return {
    platform,
    parts: await Promise.all(
      parts.map(async ({ name, content }) => ({ name, content: await pack(content, { level: 9 }) })),
    ),
    missing: [...loaded].filter((one) => !ofLibc.test(one) && !given.some(({ name }) => name === one)),
  }
}

/** A library as it is loaded: by the name of its file. */
async function readLibrary(path: string, arch: string) {
  const content = await readProgram(path)
  const elf = elfOf(content, path)
  if (elf.arch !== arch) throw unfit(path, `it is for ${elf.arch}, and the Node for ${arch}`)
  const name = basename(path)
  if (!/^[A-Za-z][\w.+-]{0,80}$/.test(name)) throw unfit(path, 'its name is none of a library')
  return { path, name, content, needed: elf.needed }
}

function elfOf(content: Buffer, path: string): Elf {
  const elf = readElf(content)
  if (elf === null) throw unfit(path, 'it is not for Linux on x64 or arm64')
  return elf
}

/** By the address of its own source, which every Node holds: this one cannot run it where it is for another machine. */
function checkVersion(program: Buffer, node: string): void {
  if (!program.includes(`${fuse}:0`)) throw unfit(node, 'it is no Node that takes a program in')
  const at = program.indexOf('/node-v')
  const [, version] = /^\/node-(v\d+\.\d+\.\d+)/.exec(program.toString('latin1', at, at + 32)) ?? []
  if (version === process.version) return
  throw new ClientError(
    'other_node',
    `${node} is Node ${version ?? 'of a version that it does not tell'}, and this is ${process.version}`,
    `take Node ${process.version} for that platform, or run this by a Node of the other version`,
    { exitCode: 2 },
  )
}

async function inject(file: string, node: string): Promise<Buffer> {
  const require = createRequire(import.meta.url)
  const postject = join(dirname(require.resolve('postject')), 'cli.js')
  const folder = await mkdtemp(join(tmpdir(), 'hoop-sea-'))
  try {
    // The blob holds this name: no path of the machine that builds goes into what is pinned.
    await copyFile(file, join(folder, 'hoop-access.cjs'))
    const config = {
      main: 'hoop-access.cjs',
      output: 'blob',
      disableExperimentalSEAWarning: true,
      useCodeCache: false,
      useSnapshot: false,
    }
    await writeFile(join(folder, 'sea.json'), JSON.stringify(config))
    await run(process.execPath, ['--experimental-sea-config', 'sea.json'], { cwd: folder })
    const program = join(folder, 'hoop-access')
    await copyFile(node, program)
    await chmod(program, 0o700)
    const blob = join(folder, 'blob')
    await run(process.execPath, [postject, program, 'NODE_SEA_BLOB', blob, '--sentinel-fuse', fuse])
    return await readFile(program)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function readProgram(path: string): Promise<Buffer> {
  const content = await readFile(path).catch((cause: unknown) => {
    throw wrongUsage(`${path} cannot be read (${systemCode(cause) ?? 'unknown error'})`, 'name a file')
  })
  if (content.length > NODE_BYTES) throw unfit(path, 'it is larger than any Node')
  return content
}

function unfit(path: string, why: string): ClientError {
  return wrongUsage(
    `${path} cannot go into an executable: ${why}`,
    'give --node the `node` of a Node for Linux, and --library the libraries that it needs, by the names it calls them',
  )
}
