import { createHash } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import { GatewayError } from '../core/errors.ts'
import { type ChainState, originOf } from './chain.ts'
import { type Fault, type KeyFinder, type ReadEvent, readChain } from './read-chain.ts'

/** What was found of a chain whose writer may have died. */
export interface Recovered {
  readonly state: ChainState
  /** The signature's line that ends the file, or nothing: what the next block's hash also covers. */
  readonly tail: Uint8Array
  /** Bytes without a seal, moved aside. */
  readonly lost: number
  /** What is wrong beyond that: the file is left as it is. */
  readonly fault: Fault | null
  readonly signed: boolean
}

/**
 * Reads a chain to its end; what a crash left behind the last seal is moved to `aside` (made, 0600) and cut off.
 * A file that is not what was sealed is not touched. `see` gets every sealed event.
 */
export async function recoverChain(
  path: string,
  name: string,
  options: { keys: KeyFinder; aside: string; see?: (event: ReadEvent) => void },
): Promise<Recovered> {
  let state: ChainState = { head: originOf(name), blocks: 0, records: 0, signatures: 0 }
  let tail: Uint8Array = new Uint8Array(0)
  let end = 0
  for await (const part of readChain(path, name, options.keys)) {
    if (part.kind === 'fault') {
      if (!part.torn) return { state, tail, lost: 0, fault: part.fault, signed: state.signatures > 0 }
      const lost = await moveAside(path, end, options.aside)
      return { state, tail, lost, fault: null, signed: state.signatures > 0 }
    }
    ;({ state, end } = part)
    tail = part.kind === 'signature' ? part.bytes : new Uint8Array(0)
    if (part.kind === 'block') for (const event of part.events) options.see?.(event)
  }
  return { state, tail, lost: 0, fault: null, signed: state.signatures > 0 }
}

/** Copies all from `end` on to another file, has it on disk, then cuts it off; gives its length. */
async function moveAside(path: string, end: number, aside: string): Promise<number> {
  const from = await open(path, 'r+')
  try {
    // A second crash in the middle of this leaves the same bytes to be moved again, and perhaps half a copy.
    const to = await open(aside, 'a', 0o600)
    const chunk = Buffer.allocUnsafe(1 << 16)
    let at = end
    try {
      for (;;) {
        const { bytesRead } = await from.read(chunk, 0, chunk.length, at)
        if (bytesRead === 0) break
        await to.writeFile(chunk.subarray(0, bytesRead))
        at += bytesRead
      }
      await to.sync()
    } finally {
      await to.close()
    }
    await from.truncate(end)
    await from.sync()
    return at - end
  } catch (error) {
    throw new GatewayError('recording_failed', `cannot move the torn end of ${path} aside`, { cause: error })
  } finally {
    await from.close()
  }
}

/** Size and SHA-256 (hex) of a file. */
export async function digestFile(path: string): Promise<{ bytes: number; sha256: string }> {
  const digest = createHash('sha256')
  const file = await open(path, 'r')
  for await (const chunk of file.createReadStream()) digest.update(chunk)
  return { bytes: (await stat(path)).size, sha256: digest.digest('hex') }
}
