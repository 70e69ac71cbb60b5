import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { wrongUsage } from '../../client/error.ts'
import { readGatewaySection } from './operator.ts'
import { collect } from './options.ts'
import { print, printJson, tell } from './terminal.ts'
import { jobFiles } from './version.ts'

interface Options {
  readonly node: string
  readonly library?: readonly string[]
  readonly config: string
  readonly executable?: string
  readonly out?: string
  readonly json?: boolean
}

/** `hoop-access client`: the executables that the gateway serves to jobs. */
export function addClient(program: Command): void {
  program
    .command('client')
    .description('make the executables that jobs fetch from the gateway')
    .command('build')
    .description('make one with a Node of its own, for images without Node, of a Node that you trust')
    .requiredOption('--node <file>', 'the `node` for Linux on x64 or arm64, of glibc or musl (Alpine)')
    .option('--library <file>', 'a library that it needs and images may lack: libstdc++.so.6', collect)
    .option('--executable <file>', 'the hoop-access.cjs to put in, instead of this version’s own')
    .option('--out <folder>', 'where to leave it, instead of data/client of the gateway')
    .option('--config <file>', 'the gateway’s configuration', 'hoop.yaml')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nPrints the digests by which jobs know it, for `pins` of the GitLab component and of the Jenkins library. Nothing is' +
        '\nfetched: what is in FILE is what jobs run. The gateway serves what is in data/client at once.',
    )
    .action(build)
}

async function build({ node, library, executable, out, config, json }: Options): Promise<void> {
  const file = executable ?? join(jobFiles ?? '', 'hoop-access.cjs')
  if (!existsSync(file)) throw wrongUsage(`${file} is not there`, 'in a checkout, run `npm run build` first')
  const folder = out ?? join((await readGatewaySection(config)).data, 'client')
  const { makeSelfContained } = await import('../../build/self-contained.ts')
  const { platform, parts, missing } = await makeSelfContained(file, node, library)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const files: { name: string; sha256: string; path: string }[] = []
  for (const { name, content } of parts) {
    const sha256 = createHash('sha256').update(content).digest('hex')
    const path = join(folder, `${sha256}-${name}`)
    // By a draft, so that nothing half-written is served. It is public, and the gateway may be another user.
    await writeFile(`${path}.${process.pid}.new`, content, { mode: 0o644 })
    await rename(`${path}.${process.pid}.new`, path)
    files.push({ name, sha256, path })
  }
  const pins = files.map(({ name, sha256 }) => `${sha256}:${name}`).join(' ')
  if (json === true) return printJson({ platform, pins, missing, files })
  tell(`${platform} is in ${folder}; jobs take it by these pins:`)
  if (missing.length > 0) {
    tell(`a job’s image has to bring ${missing.join(', ')}, or give them here: --library FILE`)
  }
  print(pins)
}
