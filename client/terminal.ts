import { closeSync, openSync, readFileSync } from 'node:fs'
import { here } from './system.ts'

/** Whether a terminal is the session's, whatever the standard streams are: Linux alone is asked. */
export function hasTerminal(): boolean {
  return readStatus().terminal !== '0'
}

/**
 * Whether what is typed at a terminal (Ctrl-C, Ctrl-\) now comes as a signal to this process and to all that it started in
 * its own process group. Who sent a signal, Node does not tell.
 */
export function typedSignalsReachUs(): boolean {
  // No process can send one there: they are the console's, and go to all who are at it.
  if (here.platform === 'win32') return true
  if (here.platform === 'linux') {
    const { group, foreground } = readStatus()
    return group === foreground
  }
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch {
    return false // ENXIO: the session has none
  }
}

/** proc_pid_stat(5): pgrp is field 5, tty_nr field 7, tpgid field 8, or -1 where there is no terminal. */
function readStatus(): Readonly<Record<'group' | 'terminal' | 'foreground', string>> {
  const text = readFileSync('/proc/self/stat', 'utf8')
  const [, , group = '', , terminal = '', foreground = ''] = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { group, terminal, foreground }
}
