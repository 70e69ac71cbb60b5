import type { JsonWebKey } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError } from '../core/errors.ts'
import type { ChainState } from './chain.ts'
import { findRecording, isGone, ledgerChain, listDays, listLedgers, listSessions } from './files.ts'
import { Findings } from './findings.ts'
import { emptyMark, type Mark, type MarkPlace, readMark } from './mark.ts'
import { type Fault, type KeyFinder, type ReadEvent, readChain } from './read-chain.ts'
import { type LedgerRead, RecordingCheck } from './recording-check.ts'
import { cutBack, differs } from './recovery.ts'
import { StatementChecker } from './statements.ts'
import { trustKeys } from './trust.ts'
import { type RemovedDay, Witness } from './witness.ts'

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
  /** Days whose recordings are gone because they were older than the gateway keeps them, oldest first; `left` of their recordings are still there: the removal was interrupted, and the gateway goes on with it. */
  readonly removed: readonly (RemovedDay & { readonly left: number })[]
  /** `directory`: whoever could write the recordings could also have written the keys. */
  readonly keys: 'given' | 'directory'
  /** The ledger's head, to compare with one kept elsewhere; null when a single recording was checked. */
  readonly ledger: { readonly head: string; readonly blocks: number } | null
  /** The head kept apart from the recordings that the ledger was compared with; null when there was none to compare. */
  readonly kept: string | null
}

/** A verification in the middle of a note must not cry wolf. */
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
    else await work.alone(path)
  } catch (error) {
    if (isGone(error)) {
      throw new GatewayError('not_found', `there is nothing to verify at ${path}`, { cause: error })
    }
    throw error
  }
  return work.report()
}

class Verification {
  readonly #options: VerifyOptions
  readonly #find: KeyFinder
  readonly #given: boolean
  readonly #statements: StatementChecker | null
  readonly #findings = new Findings()
  readonly #recording: RecordingCheck
  /** The head to look for in the ledger, until it is found. */
  #wanted: string | null
  readonly #places: readonly Pick<MarkPlace, 'name' | 'read'>[]
  #mark: Mark | null = null
  #kept: string | null
  #ledger: { head: string; blocks: number } | null = null
  #removed: Report['removed'] = []

  constructor(path: string, options: VerifyOptions) {
    const { publicKey, tokenKeys, ledgerHead, places = [] } = options
    this.#options = options
    this.#wanted = ledgerHead ?? null
    this.#kept = ledgerHead ?? null
    this.#places = places
    const { find, given } = trustKeys(path, publicKey)
    this.#find = find
    this.#given = given
    this.#statements = tokenKeys === undefined ? null : new StatementChecker(tokenKeys)
    this.#recording = new RecordingCheck(find, this.#statements, this.#findings)
  }

  report(): Report {
    if (this.#wanted !== null && this.#ledger !== null) {
      this.#findings.missing(
        'ledger.jsonl',
        'the ledger does not hold the head that was kept elsewhere: it was cut back or replaced',
      )
    }
    const { faults, recordings, records, blocks, signatures, running } = this.#findings
    return {
      ok: faults.length === 0,
      faults,
      recordings,
      records,
      blocks,
      signatures,
      statements: this.#statements?.checked ?? 0,
      running,
      removed: this.#removed,
      keys: this.#given ? 'given' : 'directory',
      ledger: this.#ledger,
      kept: this.#ledger === null ? null : this.#kept,
    }
  }

  /** A recording on its own. */
  alone(path: string): Promise<void> {
    return this.#recording.alone(path)
  }

  async folder(dir: string): Promise<void> {
    // Listed before the ledger is read, so that a session that begins meanwhile is not taken for an unknown one.
    const files: { session: string; path: string }[] = []
    for (const day of await listDays(dir)) {
      for (const session of await listSessions(dir, day))
        files.push({ session, path: join(dir, day, `${session}.jsonl`) })
    }
    let ledger = await this.#ledgers(dir)
    const { faults } = this.#findings
    if (faults.length > 0 || files.some(({ session }) => ledger.witness.session(session) === null)) {
      // A gateway at work may have been in the middle of a note, or between making a file and noting it: look again.
      await sleep(settleMs)
      faults.length = 0
      this.#findings.records = this.#findings.blocks = this.#findings.signatures = 0
      ledger = await this.#ledgers(dir)
    }
    const seen = new Set<string>()
    /** Of each removed day, how many recordings are there all the same. */
    const left = new Map<string, number>()
    for (const { session, path } of files) {
      if (seen.has(session)) this.#findings.missing(path, `session ${session} has two recordings`)
      // Since the files were listed, a gateway at work may have removed what is too old.
      else if (!(await this.#isThere(path, session, ledger))) continue
      seen.add(session)
      const day = ledger.witness.session(session)?.removed ?? null
      if (day !== null) left.set(day, (left.get(day) ?? 0) + 1)
    }
    let { witness } = ledger
    for (const [session, why] of ledger.witness.absent(seen)) {
      // One that began after the files were listed is there by now.
      const path = await findRecording(dir, session)
      if (path !== null && (await this.#isThere(path, session, ledger))) continue
      // Or it was removed after the ledger was read: then that says so by now.
      if (witness === ledger.witness)
        witness = (await new Verification(dir, this.#options).#ledgers(dir)).witness
      if ((witness.session(session)?.removed ?? null) === null)
        this.#findings.missing(join(dir, '*', `${session}.jsonl`), why)
    }
    this.#removed = witness.removed.map((day) => ({ ...day, left: left.get(day.day) ?? 0 }))
  }

  /** Checks a recording; false when it is not there any more. */
  async #isThere(path: string, session: string, ledger: LedgerRead): Promise<boolean> {
    try {
      await this.#recording.known(path, session, ledger)
      return true
    } catch (error) {
      if (!isGone(error)) throw error
      this.#findings.recordings--
      return false
    }
  }

  async #ledgers(dir: string): Promise<LedgerRead> {
    const readAt = Date.now()
    // Read first: the ledger of a gateway at work may be ahead of it by then, never behind.
    await this.#readMark()
    const witness = new Witness()
    const ledgers = await listLedgers(dir)
    if (ledgers[0] !== 'ledger.jsonl')
      this.#findings.missing(join(dir, 'ledger.jsonl'), 'the ledger is missing')
    const last = this.#mark === null ? undefined : `${this.#mark.ledger}.jsonl`
    if (last !== undefined && last !== 'ledger.jsonl' && !ledgers.includes(last))
      this.#findings.missing(join(dir, last), 'this ledger is missing')
    for (const [index, file] of ledgers.entries()) {
      if (index > 0) witness.expectSegment(ledgers[index - 1] ?? '')
      await this.ledger(join(dir, file), witness)
      for (const why of await witness.checkSegment(dir)) this.#findings.missing(join(dir, file), why)
      if (witness.accepted !== null)
        this.#findings.missing(
          join(dir, file),
          `it follows a ledger whose loss was accepted: ${witness.accepted}`,
        )
    }
    return { witness, readAt }
  }

  async #readMark(): Promise<void> {
    try {
      this.#mark = await readMark(this.#places, this.#find)
      this.#kept = this.#mark?.at.head ?? this.#kept
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      this.#findings.missing('ledger.head', error.message)
    }
  }

  async ledger(path: string, witness: Witness): Promise<void> {
    let last: ReadEvent | null = null
    let signed = true
    const name = ledgerChain(basename(path))
    const mark = this.#mark?.ledger === name ? this.#mark : null
    let state: ChainState = emptyMark(name).at
    let end = 0
    /** Of the block before: whoever can write the ledger can add blocks to its end, but has no signature to follow them. */
    let removals: readonly ReadEvent[] = []
    const see = (event: ReadEvent): Fault | null => {
      const why = witness.see(event)
      const { line, offset, seq } = event
      return why === null ? null : { file: path, line, offset, seq, why }
    }
    for await (const part of readChain(path, name, this.#find)) {
      if (part.kind === 'fault') return this.#findings.fault(part.fault)
      const [first] = part.kind === 'block' ? part.events : []
      const other = mark === null ? null : differs(mark, part.state)
      if (other !== null && first !== undefined) {
        const { line, offset, seq } = first
        return this.#findings.fault({ file: path, line, offset, seq, why: other })
      }
      ;({ state, end } = part)
      this.#ledger = { head: part.state.head, blocks: part.state.blocks }
      if (part.state.head === this.#wanted) this.#wanted = null
      signed = part.kind === 'signature'
      if (part.kind === 'signature') {
        this.#findings.signatures++
        for (const event of removals) {
          const fault = see(event)
          // What is wrong with a removal says nothing of what comes after it.
          if (fault !== null) this.#findings.fault(fault)
        }
        removals = []
      } else {
        removals = part.events.filter(isRemoval)
        this.#findings.blocks++
        this.#findings.records += part.events.length
        for (const event of part.events) {
          last = event
          const fault = isRemoval(event) ? null : see(event)
          if (fault !== null) return this.#findings.fault(fault)
        }
      }
    }
    if (mark !== null && state.blocks < mark.at.blocks) this.#findings.fault(cutBack(path, mark, state, end))
    else if (last === null) this.#findings.missing(path, 'the ledger is empty')
    else if (!signed && last.event.kind === 'gateway-stop') {
      const { line, offset, seq } = last
      this.#findings.fault({
        file: path,
        line,
        offset,
        seq,
        why: 'the gateway stopped, but its last signature is missing',
      })
    }
  }
}

function isRemoval({ event }: ReadEvent): boolean {
  return event.kind === 'removed'
}
