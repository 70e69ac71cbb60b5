import { Fields, Type } from './sftp-codec.ts'
import type { Named } from './sftp-operations.ts'

/** Asks the host's SFTP server one thing and gives its answer, a whole packet. */
export type Ask = (type: number, ...parts: readonly string[]) => Promise<Buffer>

/**
 * The path that the host will act on, links resolved by the host itself; null when there is none. Where the last part
 * is not followed, only what leads to it is resolved.
 */
export async function resolvePath(ask: Ask, { path, follow }: Named): Promise<string | null> {
  const cut = path.lastIndexOf('/')
  const last = path.slice(cut + 1)
  if (follow || last === '' || last === '.' || last === '..') return realPath(ask, path)
  const folder = await realPath(ask, cut === -1 ? '.' : path.slice(0, cut + 1))
  return folder === null ? null : `${folder === '/' ? '' : folder}/${last}`
}

async function realPath(ask: Ask, path: string): Promise<string | null> {
  const answer = await ask(Type.realpath, path)
  if (answer.readUInt8(4) !== Type.name) return null
  const fields = new Fields(answer)
  const found = fields.uint32() === 1 ? fields.text() : ''
  return found.startsWith('/') && !/\/\.{0,2}(\/|$)/.test(found.slice(1)) ? found : null
}

/** File mode bits of a folder (S_IFMT, S_IFDIR). */
const [KIND, FOLDER] = [0o170000, 0o040000]

/** True when there is a folder under a path. */
export async function isFolder(ask: Ask, path: string): Promise<boolean> {
  const answer = await ask(Type.stat, path)
  if (answer.readUInt8(4) !== Type.attrs) return false
  const fields = new Fields(answer)
  const flags = fields.uint32()
  // uint32 flags | uint64 size if 1 | uint32 uid, uint32 gid if 2 | uint32 permissions if 4
  if ((flags & 1) !== 0) fields.uint64()
  if ((flags & 2) !== 0) fields.uint64()
  return (flags & 4) !== 0 && (fields.uint32() & KIND) === FOLDER
}
