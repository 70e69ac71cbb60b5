import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { writePrivate } from './home.ts'

/** Makes `hoop-access` a command: gives a folder for PATH, within the private one, with a script for each kind of shell. */
export async function writeCommand(home: string, command: readonly string[]): Promise<string> {
  const folder = join(home, 'bin')
  await mkdir(folder, { mode: 0o700, recursive: true })
  const posix = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
  await writePrivate(folder, 'hoop-access', `#!/bin/sh\nexec ${posix} "$@"\n`)
  await chmod(join(folder, 'hoop-access'), 0o700)
  // cmd.exe has no escape for a quote, and paths on Windows hold none; a percent sign has to be doubled.
  const windows = command.map((word) => `"${word.replaceAll('%', '%%')}"`).join(' ')
  await writePrivate(folder, 'hoop-access.cmd', `@${windows} %*\r\n`)
  return folder
}
