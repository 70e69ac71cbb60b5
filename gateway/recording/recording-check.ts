import { basename, dirname } from 'node:path'
import { dayOf, isDayOf } from './files.ts'
import type { Findings } from './findings.ts'
import { type KeyFinder, type ReadEvent, readChain } from './read-chain.ts'
import type { StatementChecker } from './statements.ts'
import type { Witness } from './witness.ts'

/** The ledger notes an end right after it; a verification at just that moment must not cry wolf. */
const noteWithin = 10_000

/** What the ledger said, and when it was begun to be read (milliseconds since the epoch): it cannot know of what ended later. */
export interface LedgerRead {
  readonly witness: Witness
  readonly readAt: number
}

/** Checks recordings of sessions, each from its first byte to its last, and puts what it finds into `findings`. */
export class RecordingCheck {
  readonly #find: KeyFinder
  readonly #statements: StatementChecker | null
  readonly #findings: Findings

  constructor(find: KeyFinder, statements: StatementChecker | null, findings: Findings) {
    this.#find = find
    this.#statements = statements
    this.#findings = findings
  }

  /** A recording on its own: nothing but its end can then show that it is whole. */
  async alone(path: string): Promise<void> {
    const found = await this.#chain(path, null, null)
    if (found.faulty || found.finished) return
    const { line, offset, seq } = found
    const why = found.ended
      ? 'the end is not signed: it is forged, or its signature was cut off'
      : 'the recording has no end: it was cut off, or its session is not over'
    this.#findings.fault({ file: path, line, offset, seq, why })
  }

  /** A recording that the ledger should know. */
  async known(path: string, session: string, { witness, readAt }: LedgerRead): Promise<void> {
    const known = witness.session(session)
    if (known === null) return this.#findings.missing(path, `session ${session} is not in the ledger`)
    const found = await this.#chain(path, session, witness)
    if (found.faulty) return
    const day = basename(dirname(path))
    if (found.began !== null && !isDayOf(day, found.began))
      this.#findings.missing(path, `it lies under ${day}, and began on ${dayOf(found.began)}: it was moved`)
    const { line, offset, seq } = found
    const fault = (why: string): void => this.#findings.fault({ file: path, line, offset, seq, why })
    if (found.blocks < known.blocks)
      return fault(
        `the recording is cut off: the ledger knows ${known.blocks} blocks, here are ${found.blocks}`,
      )
    if (known.over === null) {
      if (found.finished && readAt - found.at > noteWithin)
        fault(
          'the ledger does not know of this end: the ledger was cut back, or the gateway died and was not started again',
        )
      else this.#findings.running.push(session)
    } else if (found.blocks > known.blocks)
      fault(
        `the recording goes on after its end: the ledger knows ${known.blocks} blocks, here are ${found.blocks}`,
      )
    else if (known.over === 'ended' && !found.finished) fault('the signature of the end is missing')
  }

  async #chain(path: string, session: string | null, witness: Witness | null): Promise<Found> {
    this.#findings.recordings++
    const found: Found = {
      faulty: false,
      ended: false,
      finished: false,
      blocks: 0,
      line: 1,
      offset: 0,
      seq: 0,
      began: null,
      at: 0,
    }
    const fault = (event: ReadEvent, why: string): void => {
      found.faulty = true
      this.#findings.fault({ file: path, line: event.line, offset: event.offset, seq: event.seq, why })
    }
    for await (const part of readChain(path, session, this.#find)) {
      if (part.kind === 'fault') {
        // A session that is still being written may end in a block that is on its way; what is there was checked.
        const writing = part.torn && session !== null && witness?.session(session)?.over === null
        if (writing) break
        this.#findings.fault(part.fault)
        found.faulty = true
        return found
      }
      if (part.kind === 'signature') {
        this.#findings.signatures++
        found.finished = found.ended
        continue
      }
      this.#findings.blocks++
      this.#findings.records += part.events.length
      found.blocks = part.state.blocks
      for (const event of part.events) {
        const { line, offset, seq, at } = event
        Object.assign(found, { line, offset, seq, at })
        found.began ??= at
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
  /** Times of the first record, where there is one, and of the last. */
  began: number | null
  at: number
}
