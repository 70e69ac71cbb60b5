import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

/** The system underneath: what it is, its files, and its programs. Tests put another in its place. */
export interface System {
  readonly platform: NodeJS.Platform
  readonly arch: NodeJS.Architecture
  read(path: string): Promise<string>
  run(program: string, args: readonly string[]): Promise<string>
}

export const here: System = {
  platform: process.platform,
  arch: process.arch,
  read: (path) => readFile(path, 'utf8'),
  run: async (program, args) => {
    // What they print is compared with what they print elsewhere: in no language, and in no time zone.
    const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' }
    return (await promisify(execFile)(program, args, { timeout: 20_000, env, windowsHide: true })).stdout
  },
}

/** One of Windows's own programs, by its full path: PATH may have another of the name first. */
export function windowsProgram(name: string, root = process.env.SystemRoot ?? 'C:\\Windows'): string {
  return `${root}\\System32\\${name}`
}
