import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

// Only root's PATH has it, and servers are there.
const beside = process.platform === 'win32' ? [] : ['/usr/sbin']

/** Where a program is: on the PATH, or among the system's servers; null where it is not. */
export function find(program: string): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...beside]
  return folders.map((folder) => join(folder, program)).find(isExecutable) ?? null
}

/** Whether all of these programs are here. */
export const has = (...programs: readonly string[]): boolean =>
  programs.every((program) => find(program) !== null)

/** True where a program is missing, which is then said: for `skipIf`, by which nothing is told of the reason. */
export function lacks(...programs: readonly string[]): boolean {
  const missing = programs.filter((program) => find(program) === null)
  return told(missing.length === 0 ? null : `not on the PATH: ${missing.join(', ')}`)
}

const said = new Set<string>()

/** True with a reason for skipping, which is said once in a test file's output, under the file's name; false with null. */
export function told(why: string | null): boolean {
  if (why !== null && !said.has(why)) console.warn(`skipped here: ${why}`)
  said.add(why ?? '')
  return why !== null
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
