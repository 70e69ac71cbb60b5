import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Whether all of these programs are on the PATH. What needs one that is not is skipped, and says by its name what it needs. */
export function has(...programs: readonly string[]): boolean {
  const folders = (process.env.PATH ?? '').split(delimiter)
  return programs.every((program) => folders.some((folder) => isExecutable(join(folder, program))))
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
