import { existsSync } from 'node:fs'
import { win32 } from 'node:path'
import { ClientError } from './error.ts'
import { windowsProgram } from './system.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** A program and its words, as `spawn` takes them; `verbatim` when they are one line, quoted already. */
export interface Started {
  readonly program: string
  readonly args: readonly string[]
  readonly verbatim: boolean
}

/**
 * What runs a command on Windows. Programs are looked up on PATH by PATHEXT, and not in the current folder, which may hold
 * another of the name. Batch files (npm and its like) are run by cmd.exe, which reads words for a second time: those that
 * it could take for something else are refused. A command that is not found comes back as it was.
 */
export function windowsCommand(
  [name = '', ...args]: readonly string[],
  environment: Environment,
  exists: (path: string) => boolean = existsSync,
): Started {
  const program = findProgram(name, environment, exists)
  if (program === undefined || !/\.(?:bat|cmd)$/i.test(program))
    return { program: program ?? name, args, verbatim: false }
  const odd = [program, ...args].find((word) => /["%\r\n\0]/.test(word))
  if (odd !== undefined) {
    throw new ClientError(
      'command_not_run',
      `${name} is a batch file, and cmd.exe would read ${JSON.stringify(odd.slice(0, 80))} as something else`,
      'use a word without quotes, percent signs and new lines, or run the program that the batch file starts',
      { exitCode: 126 },
    )
  }
  // Between quotes nothing else has a meaning. A program that gets the word takes \" for a quote.
  const line = [program, ...args].map((word) => `"${word.replace(/\\+$/, '$&$&')}"`).join(' ')
  return {
    program: windowsProgram('cmd.exe'),
    args: ['/d', '/v:off', '/s', '/c', `"${line}"`],
    verbatim: true,
  }
}

function findProgram(
  name: string,
  environment: Environment,
  exists: (path: string) => boolean,
): string | undefined {
  const extensions = (valueOf(environment, 'PATHEXT') || '.COM;.EXE;.BAT;.CMD').split(';').filter(Boolean)
  const known = extensions.some((one) => name.toLowerCase().endsWith(one.toLowerCase()))
  const endings = known ? ['', ...extensions] : extensions
  const folders = /[\\/:]/.test(name)
    ? ['']
    : (valueOf(environment, 'PATH') ?? '').split(';').map((folder) => folder.replaceAll('"', ''))
  for (const folder of folders) {
    if (folder === '' && folders.length > 1) continue
    for (const ending of endings) {
      const path = folder === '' ? `${name}${ending}` : win32.join(folder, `${name}${ending}`)
      if (exists(path)) return path
    }
  }
  return undefined
}

/** Windows keeps names of variables as they were first written, and reads them in any case. */
function valueOf(environment: Environment, name: string): string | undefined {
  const found = Object.keys(environment).find((one) => one.toUpperCase() === name)
  return found === undefined ? undefined : environment[found]
}
