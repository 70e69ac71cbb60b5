import { randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { GatewayError } from '../core/errors.ts'

/** Makes a folder 0700 if absent; throws `GatewayError` `invalid_config` when others may look into it. */
export function ensurePrivateFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error'
    throw new GatewayError('invalid_config', `the folder ${path} cannot be made (${code})`, { cause })
  }
  refuseShared(path, 0o700)
}

/** The bytes of a file that only its owner can read, made by `make` at first (0600, whole or not at all, never overwritten). */
export function keepFile(folder: string, name: string, make: () => Uint8Array | string): Buffer {
  const path = join(folder, name)
  if (!existsSync(path)) create(path, make())
  refuseShared(path, 0o600)
  return readFileSync(path)
}

function create(path: string, content: Uint8Array | string): void {
  const draft = `${path}.${randomBytes(6).toString('hex')}.new`
  const file = openSync(draft, 'wx', 0o600)
  try {
    // All of it, or it throws: a write alone may take a part.
    writeFileSync(file, content)
    fsyncSync(file)
  } catch (error) {
    unlinkSync(draft)
    throw error
  } finally {
    closeSync(file)
  }
  publish(draft, path)
  if (process.platform === 'win32') return
  const folder = openSync(dirname(path), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

/** A link fails where the name exists, so of two gateways that start at once one wins, and both then read its file. */
function publish(draft: string, path: string): void {
  try {
    linkSync(draft, path)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code !== 'EEXIST') {
      // Some network and container file systems have no links.
      if (existsSync(path)) throw error
      renameSync(draft, path)
      return
    }
  }
  unlinkSync(draft)
}

function refuseShared(path: string, mode: 0o600 | 0o700): void {
  // Windows answers with modes that say nothing about who may read.
  if (process.platform === 'win32') return
  const status = statSync(path)
  if ((status.mode & 0o077) !== 0) {
    throw new GatewayError('invalid_config', `others can read ${path}: run chmod ${mode.toString(8)} ${path}`)
  }
  const user = process.getuid?.()
  if (user !== undefined && user !== 0 && status.uid !== user) {
    throw new GatewayError('invalid_config', `${path} belongs to another user: run chown ${user} ${path}`)
  }
}
