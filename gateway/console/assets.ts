import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A file that pages load, under a path that changes with what is in it. */
export interface Asset {
  readonly path: string
  readonly type: string
  readonly body: Buffer
}

// In a checkout beside this file, in the build beside its bundle.
const folder = join(import.meta.dirname, 'assets')

function read(name: string, type: string): Asset {
  const body = readFileSync(join(folder, name))
  const digest = createHash('sha256').update(body).digest('hex').slice(0, 16)
  return { path: `/assets/${digest}/${name}`, type, body }
}

export const style = read('console.css', 'text/css; charset=utf-8')
export const script = read('console.js', 'text/javascript; charset=utf-8')
export const icon = read('icon.svg', 'image/svg+xml')
