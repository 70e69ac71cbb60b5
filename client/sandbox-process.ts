import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs'

/** What stands in for every open file of ours from 3 on, for `stdio`: files that we were handed ourselves are handed on otherwise. To be closed once the command runs. */
export function coverFiles(): { readonly files: readonly number[]; close(): void } {
  const nothing = openSync('/dev/null', 'r+')
  const open = readdirSync('/proc/self/fd').map(Number)
  return {
    files: Array.from({ length: Math.max(...open, 2) - 2 }, () => nothing),
    close: () => closeSync(nothing),
  }
}

/** The process so many generations below, following the first child of each; undefined when it is not there (yet). */
export function descend(pid: number | undefined, depth: number): number | undefined {
  if (pid === undefined || depth === 0) return pid
  try {
    const [first = ''] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')
    return first === '' ? undefined : descend(Number(first), depth - 1)
  } catch {
    return undefined // it ended while it was looked at
  }
}
