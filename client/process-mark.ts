import { systemCode } from './error.ts'
import { here, type System, windowsProgram } from './system.ts'

/**
 * When a process began, as the system tells it: with the pid it names one process for good, where a pid alone may be
 * another's by now. Null when it is not there (or only its exit code is).
 */
export async function markOf(pid: number, system: System = here): Promise<string | null> {
  if (!Number.isSafeInteger(pid) || pid <= 1) return null
  try {
    const mark = (await ask(pid, system)).trim()
    return mark === '' ? null : mark
  } catch {
    return null // no such process, which each system says in a way of its own
  }
}

const ASKED_EACH_MS = 60_000

/**
 * Whether a process still runs, which began when `mark` says; to be asked again and again. Windows tells of a start by a
 * program of its own: there it is asked for once a minute, and in between whether any process has the number.
 */
export function watchProcess(pid: number, mark: string, system: System = here): () => Promise<boolean> {
  let asked = -Infinity
  return async () => {
    if (system.platform === 'win32') {
      if (!hasProcess(pid)) return false
      if (performance.now() - asked < ASKED_EACH_MS) return true
    }
    const runs = (await markOf(pid, system)) === mark
    // What it says against it is asked for again.
    asked = runs ? performance.now() : -Infinity
    return runs
  }
}

/** Whether any process has the number, whosever it is. */
export function hasProcess(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return systemCode(error) === 'EPERM' // it is there, and another user's
  }
}

async function ask(pid: number, system: System): Promise<string> {
  const { platform } = system
  if (platform === 'linux') {
    // proc(5): the name in parentheses may hold spaces and parentheses; state is field 3, starttime field 22.
    const text = await system.read(`/proc/${pid}/stat`)
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? '' : (fields[19] ?? '')
  }
  if (platform === 'win32') {
    const script = `(Get-Process -Id ${pid}).StartTime.ToFileTimeUtc()`
    return system.run(windowsProgram('WindowsPowerShell\\v1.0\\powershell.exe'), [
      '-NoProfile',
      '-NonInteractive',
      '-Command',
      script,
    ])
  }
  // ps(1) of macOS and the BSDs; Z: only its exit code is left.
  const [, state = '', start = ''] =
    /^(\S+)\s+(.*)/.exec(
      (await system.run('ps', ['-o', 'stat=', '-o', 'lstart=', '-p', String(pid)])).trim(),
    ) ?? []
  return state.startsWith('Z') ? '' : start
}
