import { isSea } from 'node:sea'

/** How to start this executable again, as it was started: with its own Node, or by a Node and a file. */
export function selfCommand(): string[] {
  return isSea() ? [process.execPath] : [process.execPath, process.argv[1] ?? '']
}
