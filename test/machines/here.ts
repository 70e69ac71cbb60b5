import { dirname } from 'node:path'
import type { Machine } from './machine.ts'

/** The one that the tests run on. */
export const here: Machine = {
  os: 'Linux',
  node: process.execPath,
  path: (path) => path,
  delimiter: ':',
  folders: [dirname(process.execPath)],
  start: (command, env) => ({ command, env }),
  pipes: true,
  remove: () => Promise.resolve(),
}
