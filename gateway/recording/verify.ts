import type { JsonWebKey } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError } from '../core/errors.ts'
import type { ChainState } from './chain.ts'
import { findRecording, ledgerChain, listDays, listLedgers, listSessions } from './files.ts'
import { emptyMark, type Mark, type MarkPlace, readMark } from './mark.ts'
import { type Fault, type KeyFinder, type ReadEvent, readChain } from './read-chain.ts'
import { cutBack, differs } from './recovery.ts'
import { StatementChecker } from './statements.ts'
import { trustKeys } from './trust.ts'
import { Witness } from './witness.ts'

export interface VerifyOptions {
  /** The gateway's recording key or keys (Ed25519). Without them those beside the recordings are used, and the report says so. */
  readonly publicKey?: JsonWebKey | readonly JsonWebKey[]
  /** The gateway's token keys: with them the statements of who each session was for are checked too. */
  readonly tokenKeys?: readonly JsonWebKey[]
  /** A head of the ledger (hex) that was kept elsewhere: it must come up in the ledger, or the ledger was cut back. */
  readonly ledgerHead?: string
  /** Where the gateway keeps the ledger's head apart from the recordings: the ledger must hold it. */
  readonly places?: readonly Pick<MarkPlace, 'name' | 'read'>[]
}

export interface Report {
  /** True when every byte is what the gateway wrote and nothing is missing. */
  readonly ok: boolean
  /** The first bad record of each file, and what is missing; at most 1000, in the order they were found. */
  readonly faults: readonly Fault[]
  readonly recordings: number
  readonly records: number
  readonly blocks: number
  readonly signatures: number
  /** Statements of identity checked; 0 without token keys. */
  readonly statements: number
  /** Sessions that are not over: what they have so far is whole. */
  readonly running: readonly string[]
  /** `directory`: whoever could write the recordings could also have written the keys. */
  readonly keys: 'given' | 'directory'
  /** The ledger's head, to compare with one kept elsewhere; null when a single recording was checked. */
  readonly ledger: { readonly head: string; readonly blocks: number } | null
  /** The head kept apart from the recordings that the ledger was compared with; null when there was none to compare. */
  readonly kept: string | null
}

const mostFaults = 1000
/** The ledger notes an end right after it; a verification at just that moment must not cry wolf. */
const noteWithin = 10_000
const settleMs = 500

/**
 * Checks a recording, a ledger, or a folder of recordings with its ledger: chains, signatures, and (a folder) that
 * every session the ledger names is there, whole, and as it was. Memory grows with the number of sessions only.
 * Throws `GatewayError` `not_found` when there is nothing at the path to check.
 */
export async function verify(path: string, options: VerifyOptions = {}): Promise<Report> {
  const work = new Verification(path, options)
  try {
    if ((await stat(path)).isDirectory()) await work.folder(path)
    else if (/^ledger(-\d+)?\.jsonl$/.test(basename(path))) await work.ledger(path, new Witness())
    else await work.single(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new GatewayError('not_found', `there is nothing to verify at ${path}`, { cause: error })
    }
    throw error
  }
  return work.report()
}

class Verification {
  /** When the ledger was begun to be read: it cannot know of what ended later. */
  #ledgerReadAt = 0
  readonly #find: KeyFinder
  readonly #given: boolean
  readonly #statements: StatementChecker | null
  readonly #faults: Fault[] = []
  readonly #running: string[] = []
  /** The head to look for in the ledger, until it is found. */
  #wanted: string | null
  readonly #places: readonly Pick<MarkPlace, 'name' | 'read'>[]
  #mark: Mark | null = null
  #kept: string | null
  #recordings = 0
  #records = 0
  #blocks = 0
  #signatures = 0
  #ledger: { head: string; blocks: number } | null = null

  constructor(path: string, { publicKey, tokenKeys, ledgerHead, places = [] }: VerifyOptions) {
    this.#wanted = ledgerHead ?? null
    this.#kept = ledgerHead ?? null
    this.#places = places
    const { find, given } = trustKeys(path, publicKey)
    this.#find = find
    this.#given = given
    this.#statements = tokenKeys === undefined ? null : new StatementChecker(tokenKeys)
  }

  report(): Report {
    if (this.#wanted !== null && this.#ledger !== null) {
      this.#missing(
        'ledger.jsonl',
        'the ledger does not hold the head that was kept elsewhere: it was cut back or replaced',
      )
    }
    return {
      ok: this.#faults.length === 0,
      faults: this.#faults,
      recordings: this.#recordings,
      records: this.#records,
      blocks: this.#blocks,
      signatures: this.#signatures,
      statements: this.#statements?.checked ?? 0,
      running: this.#running,
      keys: this.#given ? 'given' : 'directory',
      ledger: this.#ledger,
      kept: this.#ledger === null ? null : this.#kept,
    }
  }

  async folder(dir: string): Promise<void> {
    // Listed before the ledger is read, so that a session that begins meanwhile is not taken for an unknown one.
    const files: { session: string; path: string }[] = []
    for (const day of await listDays(dir)) {
      for (const session of await listSessions(dir, day))
        files.push({ session, path: join(dir, day, `${session}.jsonl`) })
    }
    this.#ledgerReadAt = Date.now()
    let witness = await this.#ledgers(dir)
    if (this.#faults.length > 0 || files.some(({ session }) => witness.session(session) === null)) {
      // A gateway at work may have been in the middle of a note, or between making a file and noting it: look again.
      await sleep(settleMs)
      this.#ledgerReadAt = Date.now()
      this.#faults.length = 0
      this.#records = this.#blocks = this.#signatures = 0
      witness = await this.#ledgers(dir)
    }
    const seen = new Set<string>()
    for (const { session, path } of files) {
      const twice = seen.has(session)
      seen.add(session)
      if (twice) this.#missing(path, `session ${session} has two recordings`)
      else await this.#recorded(path, session, witness)
    }
    for (const [session, why] of witness.absent(seen)) {
      // One that began after the files were listed is there by now.
      const path = await findRecording(dir, session)
      if (path === null) this.#missing(join(dir, '*', `${session}.jsonl`), why)
      else await this.#recorded(path, session, witness)
    }
  }

  async #ledgers(dir: string): Promise<Witness> {
    // Read first: the ledger of a gateway at work may be ahead of it by then, never behind.
    await this.#readMark()
    const witness = new Witness()
    const ledgers = await listLedgers(dir)
    if (ledgers[0] !== 'ledger.jsonl') this.#missing(join(dir, 'ledger.jsonl'), 'the ledger is missing')
    const last = this.#mark === null ? undefined : `${this.#mark.ledger}.jsonl`
    if (last !== undefined && last !== 'ledger.jsonl' && !ledgers.includes(last))
      this.#missing(join(dir, last), 'this ledger is missing')
    for (const [index, file] of ledgers.entries()) {
      if (index > 0) witness.expectSegment(ledgers[index - 1] ?? '')
      await this.ledger(join(dir, file), witness)
      for (const why of await witness.checkSegment(dir)) this.#missing(join(dir, file), why)
      if (witness.accepted !== null)
        this.#missing(join(dir, file), `it follows a ledger whose loss was accepted: ${witness.accepted}`)
    }
    return witness
  }

  async #readMark(): Promise<void> {
    try {
      this.#mark = await readMark(this.#places, this.#find)
      this.#kept = this.#mark?.at.head ?? this.#kept
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      this.#missing('ledger.head', error.message)
    }
  }

  async ledger(path: string, witness: Witness): Promise<void> {
    let last: ReadEvent | null = null
    let signed = true
    const name = ledgerChain(basename(path))
    const mark = this.#mark?.ledger === name ? this.#mark : null
    let state: ChainState = emptyMark(name).at
    let end = 0
    for await (const part of readChain(path, name, this.#find)) {
      if (part.kind === 'fault') return this.#fault(part.fault)
      const [first] = part.kind === 'block' ? part.events : []
      const other = mark === null ? null : differs(mark, part.state)
      if (other !== null && first !== undefined) {
        const { line, offset, seq } = first
        return this.#fault({ file: path, line, offset, seq, why: other })
      }
      ;({ state, end } = part)
      this.#ledger = { head: part.state.head, blocks: part.state.blocks }
      if (part.state.head === this.#wanted) this.#wanted = null
      signed = part.kind === 'signature'
      if (part.kind === 'signature') this.#signatures++
      else {
        this.#blocks++
        this.#records += part.events.length
        for (const event of part.events) {
          last = event
          const why = witness.see(event)
          if (why !== null)
            return this.#fault({ file: path, line: event.line, offset: event.offset, seq: event.seq, why })
        }
      }
    }
    if (mark !== null && state.blocks < mark.at.blocks) this.#fault(cutBack(path, mark, state, end))
    else if (last === null) this.#missing(path, 'the ledger is empty')
    else if (!signed && last.event.kind === 'gateway-stop') {
      const { line, offset, seq } = last
      this.#fault({
        file: path,
        line,
        offset,
        seq,
        why: 'the gateway stopped, but its last signature is missing',
      })
    }
  }

  /** A recording on its own: nothing but its end can then show that it is whole. */
  async single(path: string): Promise<void> {
    const found = await this.#chain(path, null, null)
    if (found.faulty || found.finished) return
    const { line, offset, seq } = found
    const why = found.ended
      ? 'the end is not signed: it is forged, or its signature was cut off'
      : 'the recording has no end: it was cut off, or its session is not over'
    this.#fault({ file: path, line, offset, seq, why })
  }

  /** A recording that the ledger should know. */
  async #recorded(path: string, session: string, witness: Witness): Promise<void> {
    const known = witness.session(session)
    if (known === null) return this.#missing(path, `session ${session} is not in the ledger`)
    const found = await this.#chain(path, session, witness)
    if (found.faulty) return
    const { line, offset, seq } = found
    const fault = (why: string): void => this.#fault({ file: path, line, offset, seq, why })
    if (found.blocks < known.blocks)
      return fault(
        `the recording is cut off: the ledger knows ${known.blocks} blocks, here are ${found.blocks}`,
      )
    if (known.over === null) {
      if (found.finished && this.#ledgerReadAt - found.at > noteWithin)
        fault(
          'the ledger does not know of this end: the ledger was cut back, or the gateway died and was not started again',
        )
      else this.#running.push(session)
    } else if (found.blocks > known.blocks)
      fault(
        `the recording goes on after its end: the ledger knows ${known.blocks} blocks, here are ${found.blocks}`,
      )
    else if (known.over === 'ended' && !found.finished) fault('the signature of the end is missing')
  }

  async #chain(path: string, session: string | null, witness: Witness | null): Promise<Found> {
    this.#recordings++
    const found: Found = {
      faulty: false,
      ended: false,
      finished: false,
      blocks: 0,
      line: 1,
      offset: 0,
      seq: 0,
      at: 0,
    }
    const fault = (event: ReadEvent, why: string): void => {
      found.faulty = true
      this.#fault({ file: path, line: event.line, offset: event.offset, seq: event.seq, why })
    }
    for await (const part of readChain(path, session, this.#find)) {
      if (part.kind === 'fault') {
        // A session that is still being written may end in a block that is on its way; what is there was checked.
        const writing = part.torn && session !== null && witness?.session(session)?.over === null
        if (writing) break
        this.#fault(part.fault)
        found.faulty = true
        return found
      }
      if (part.kind === 'signature') {
        this.#signatures++
        found.finished = found.ended
        continue
      }
      this.#blocks++
      this.#records += part.events.length
      found.blocks = part.state.blocks
      for (const event of part.events) {
        const { line, offset, seq, at } = event
        Object.assign(found, { line, offset, seq, at })
        const why = found.ended ? 'a record after the end' : await this.#meaning(event, session)
        if (why !== null) {
          fault(event, why)
          return found
        }
        if (event.event.kind === 'end') found.ended = true
      }
      const expected =
        session === null ? null : (witness?.session(session)?.heads.get(part.state.blocks) ?? null)
      const [first] = part.events
      if (expected !== null && expected !== part.state.head && first !== undefined) {
        fault(
          first,
          `block ${part.state.blocks - 1} is not the one that the ledger saw: the recording was written anew`,
        )
        return found
      }
    }
    return found
  }

  /** What is wrong with a record that the chain alone does not show, or null. */
  async #meaning({ seq, event }: ReadEvent, session: string | null): Promise<string | null> {
    if ((seq === 0) !== (event.kind === 'start'))
      return seq === 0 ? 'the first record is not a start' : 'a second start'
    if (event.kind !== 'start') return null
    if (session !== null && event.session !== session)
      return `this is the recording of ${String(event.session)}`
    return (await this.#statements?.check(event)) ?? null
  }

  #missing(file: string, why: string): void {
    this.#fault({ file, line: 1, offset: 0, seq: null, why })
  }

  #fault(fault: Fault): void {
    if (this.#faults.length < mostFaults) this.#faults.push(fault)
  }
}

/** What was found of a recording, and where its last record stands. */
interface Found {
  faulty: boolean
  ended: boolean
  /** The end is signed. */
  finished: boolean
  blocks: number
  line: number
  offset: number
  seq: number
  at: number
}
