import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

const READ_BYTES = 65_536

/**
 * The first 64 KB of a file that other steps of the job may have replaced: by a link, a pipe that nobody writes to, or one
 * without an end, none of which may keep the identity from being ended. Empty where there is no file to read.
 */
export async function readBeginning(path: string): Promise<string> {
  // Windows has neither flag, and neither kind of file.
  const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)
  const file = await open(path, flags).catch(() => null) // there is none to read
  if (file === null) return ''
  try {
    if (!(await file.stat()).isFile()) return ''
    const { buffer, bytesRead } = await file.read(Buffer.alloc(READ_BYTES), 0, READ_BYTES, 0)
    return buffer.toString('utf8', 0, bytesRead)
  } catch {
    return '' // as if there were none
  } finally {
    await file.close()
  }
}
