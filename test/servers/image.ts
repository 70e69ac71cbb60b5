import { spawnSync } from 'node:child_process'
import { mkdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type Ran, run } from '../flows/gateway-stack.ts'
import { root } from './gateway.ts'

const script = join(root, 'jenkins-shim/resources/access/hoop/fetch.sh')
const usual = ['mkdir', 'chmod', 'mv', 'uname', 'sha256sum', 'gzip', 'rm', 'cat', 'sh']

/** A job's image: what is on its PATH beside the usual small things, and how the job was set up. */
export interface Image {
  /** Names, or paths of programs that are to have their last part as name. */
  readonly programs: readonly string[]
  /** A folder of the job's own. */
  readonly place: string
  readonly gateway: string
  readonly ca: string
  /** `SHA256:NAME …`. */
  readonly pins: string
  readonly command?: string
  /** What runs the script; the system's sh. */
  readonly shell?: readonly [string, readonly string[]]
}

/** Where a program is. */
export function which(program: string): string {
  return spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).stdout.trim()
}

/** Makes a PATH with these programs and nothing else. */
export async function pathOf(place: string, programs: readonly string[]): Promise<string> {
  const bin = join(place, 'path')
  await mkdir(bin)
  for (const program of programs) {
    await symlink(program.startsWith('/') ? program : which(program), join(bin, program.replace(/^.*\//, '')))
  }
  return bin
}

/** Runs what the plugins run to get their executable, as a job of this image would; `program` is where it is then. */
export async function fetchExecutable(image: Image): Promise<Ran & { program: string }> {
  const { place, shell: [shell, args] = ['sh', []] } = image
  const ran = await run(which(shell), [...args, script], {
    PATH: await pathOf(place, [...usual, ...image.programs]),
    HOOP_GATEWAY: image.gateway,
    HOOP_CA: image.ca,
    HOOP_ACCESS_FOLDER: join(place, 'bin'),
    HOOP_ACCESS_COMMAND: image.command ?? '',
    HOOP_ACCESS_PINS: image.pins,
  })
  return { ...ran, program: join(place, 'bin/hoop-access') }
}
