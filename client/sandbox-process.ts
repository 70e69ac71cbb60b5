import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs'

/**
 * What stands in for every open file of ours from 3 on, for `stdio`: files that we were handed ourselves are handed on
 * otherwise. The first is the one that is named, if any; there is a second. To be closed once the command runs.
 */
export function coverFiles(first: string | null): { readonly files: readonly number[]; close(): void } {
  const nothing = openSync('/dev/null', 'r+')
  const named = first === null ? nothing : openSync(first, 'r')
  const open = readdirSync('/proc/self/fd').map(Number)
  const rest = Array.from({ length: Math.max(...open, 4) - 3 }, () => nothing)
  return {
    files: [named, ...rest],
    close: () => [...new Set([named, nothing])].forEach((file) => closeSync(file)),
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
