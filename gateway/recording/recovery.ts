import { createHash } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import { GatewayError } from '../core/errors.ts'
import { type ChainState, originOf } from './chain.ts'
import type { Mark } from './mark.ts'
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
 * A file that is not what was sealed is not touched. `see` gets every sealed event. With `mark` it is read from
 * `mark.from` on, and one that does not hold `mark.at` is not what was sealed.
 */
export async function recoverChain(
  path: string,
  name: string,
  options: { keys: KeyFinder; aside: string; see?: (event: ReadEvent) => void; mark?: Mark },
): Promise<Recovered> {
  const { mark } = options
  let state: ChainState = mark?.from ?? { head: originOf(name), blocks: 0, records: 0, signatures: 0 }
  let tail: Uint8Array = new Uint8Array(0)
  let end = mark?.from.bytes ?? 0
  let torn = false
  const found = (lost: number, fault: Fault | null): Recovered => {
    const { head, blocks, records, signatures } = state
    return { state: { head, blocks, records, signatures }, tail, lost, fault, signed: signatures > 0 }
  }
  for await (const part of readChain(path, name, options.keys, mark?.from)) {
    if (part.kind === 'fault') {
      if (!part.torn) return found(0, part.fault)
      torn = true
      break
    }
    if (part.kind === 'block') {
      const [first] = part.events
      const why = mark === undefined ? null : differs(mark, part.state)
      if (why !== null && first !== undefined) {
        const { line, offset, seq } = first
        return found(0, { file: path, line, offset, seq, why })
      }
      for (const event of part.events) options.see?.(event)
    }
    ;({ state, end } = part)
    tail = part.kind === 'signature' ? part.bytes : new Uint8Array(0)
  }
  if (mark !== undefined && state.blocks < mark.at.blocks) return found(0, cutBack(path, mark, state, end))
  return found(torn ? await moveAside(path, end, options.aside) : 0, null)
}

/** What is wrong with a ledger that stands at `state`, given what it held before; null when nothing is. */
export function differs(mark: Mark, state: ChainState): string | null {
  return state.blocks === mark.at.blocks && state.head !== mark.at.head
    ? `block ${state.blocks - 1} is not the one whose head the gateway kept (${mark.at.head}): the ledger was written anew`
    : null
}

/** The fault of a ledger that ends, at `state` and byte `end`, before what it held. */
export function cutBack(path: string, { at }: Mark, state: ChainState, end: number): Fault {
  const { blocks, records, signatures } = state
  return {
    file: path,
    line: records + blocks + signatures,
    offset: end,
    seq: records === 0 ? null : records - 1,
    why: `the ledger was cut back: its end is missing, up to block ${at.blocks - 1} with the head that the gateway kept (${at.head})`,
  }
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

/** Size and SHA-256 (hex) of a file that is not there. */
export const digestOfNothing = { bytes: 0, sha256: createHash('sha256').digest('hex') }

/** Size and SHA-256 (hex) of a file. */
export async function digestFile(path: string): Promise<{ bytes: number; sha256: string }> {
  const digest = createHash('sha256')
  const file = await open(path, 'r')
  for await (const chunk of file.createReadStream()) digest.update(chunk)
  return { bytes: (await stat(path)).size, sha256: digest.digest('hex') }
}
