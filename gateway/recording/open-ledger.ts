import { rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.ts'
import { originOf } from './chain.ts'
import { AppendFile } from './disk.ts'
import {
  dayOf,
  isFile,
  keyFinder,
  ledgerChain,
  listDays,
  listLedgers,
  listSessions,
  nextLedger,
  readKeys,
} from './files.ts'
import { Ledger } from './ledger.ts'
import { type Fault, type KeyFinder, type ReadEvent, readChain } from './read-chain.ts'
import type { RecordingsOptions } from './recordings.ts'
import { digestFile, recoverChain, type Recovered } from './recovery.ts'

/** What the ledger says of sessions: which are open, and which it knows at all on the days that may need recovery. */
class Known {
  /** Session, and when it started. */
  readonly open = new Map<string, number>()
  /** The sessions noted on each of the last days. */
  readonly #recent = new Map<string, Set<string>>()
  lastAt = 0

  see({ at, event }: ReadEvent): void {
    this.lastAt = at
    const day = dayOf(at)
    let sessions = this.#recent.get(day)
    if (sessions === undefined) {
      sessions = new Set()
      this.#recent.set(day, sessions)
      // Older ones are of no concern to the search for unknown files.
      for (const old of this.#recent.keys()) if (old < dayOf(at - 3 * 86_400_000)) this.#recent.delete(old)
    }
    if (typeof event.session !== 'string') return
    sessions.add(event.session)
    if (event.kind === 'session-start') this.open.set(event.session, at)
    else if (event.kind === 'session-end' || event.kind === 'session-recovered')
      this.open.delete(event.session)
  }

  has(session: string): boolean {
    return [...this.#recent.values()].some((sessions) => sessions.has(session))
  }
}

/** Opens the ledger to go on with it, after closing in it whatever a gateway that died left open. */
export async function openLedger({ dir, keys, log }: RecordingsOptions): Promise<Ledger> {
  const known = new Known()
  const finder = keyFinder(readKeys(dir))
  const files = await listLedgers(dir)
  const current = files.at(-1)
  for (const file of files.slice(0, -1)) await readEarlier(join(dir, file), ledgerChain(file), finder, known)
  const ledger = await resume({ dir, keys, log }, current, files.at(-2), finder, known)
  for (const [session, at] of known.open)
    await recoverSession(dir, session, [dayOf(at), dayOf(at - 86_400_000)], { finder, ledger, log })
  await recoverUnknown(dir, known, { finder, ledger, log })
  await ledger.sync()
  return ledger
}

/** Reads a ledger that another follows; gives its fault, if it has one. */
async function readEarlier(
  path: string,
  name: string,
  finder: KeyFinder,
  known: Known,
): Promise<Fault | null> {
  for await (const part of readChain(path, name, finder)) {
    if (part.kind === 'fault') return part.fault
    if (part.kind === 'block') for (const event of part.events) known.see(event)
  }
  return null
}

async function resume(
  { dir, keys, log }: RecordingsOptions,
  current: string | undefined,
  previous: string | undefined,
  finder: KeyFinder,
  known: Known,
): Promise<Ledger> {
  if (current === undefined) return new Ledger('ledger', AppendFile.create(join(dir, 'ledger.jsonl')), keys)
  const path = join(dir, current)
  const name = ledgerChain(current)
  if ((await stat(path)).size === 0) {
    // Made by a start that went no further, or by an operator in order to go on after damage.
    const ledger = new Ledger(name, AppendFile.reopen(path), keys)
    if (previous !== undefined) {
      const fault = await readEarlier(join(dir, previous), ledgerChain(previous), finder, new Known())
      ledger.note({
        kind: 'segment',
        follows: previous,
        ...(await digestFile(join(dir, previous))),
        fault: fault === null ? 'none' : `line ${fault.line}: ${fault.why}`,
      })
    }
    return ledger
  }
  const found = await recoverChain(path, name, {
    keys: finder,
    aside: `${path.slice(0, -6)}.torn`,
    see: (event) => known.see(event),
  })
  if (found.fault !== null) throw damaged(dir, current, found.fault)
  const ledger = new Ledger(name, AppendFile.reopen(path), keys, found)
  if (found.lost > 0) {
    log.warn({ file: current, lost: found.lost }, 'the ledger had a torn end, which was moved aside')
    ledger.note({ kind: 'ledger-recovered', lost: found.lost })
  }
  return ledger
}

function damaged(dir: string, file: string, fault: Fault): GatewayError {
  return new GatewayError(
    'recording_failed',
    `${join(dir, file)} is not what the gateway wrote: line ${fault.line} (byte ${fault.offset}): ${fault.why}. ` +
      `Find out who changed it. To go on without repairing it, keep the file as it is and make an empty one beside it: ` +
      `install -m 600 /dev/null ${join(dir, nextLedger(file))}`,
  )
}

interface Tools {
  readonly finder: KeyFinder
  readonly ledger: Ledger
  readonly log: RecordingsOptions['log']
}

/** Closes one session in the ledger, on what is left of its file. */
async function recoverSession(
  dir: string,
  session: string,
  days: readonly string[],
  { finder, ledger, log }: Tools,
): Promise<void> {
  for (const day of days) {
    const path = join(dir, day, `${session}.jsonl`)
    if (!(await isFile(path))) continue
    const found = await recoverChain(path, session, { keys: finder, aside: asideOf(path) })
    noteRecovered(ledger, session, found)
    log.warn(
      { session, lost: found.lost, fault: found.fault?.why },
      'a session was not ended: its recording was closed',
    )
    return
  }
  ledger.note({
    kind: 'session-recovered',
    session,
    head: originOf(session),
    blocks: 0,
    lost: 0,
    fault: 'the file is missing',
  })
  log.error({ session }, 'the recording of a session is missing')
}

/** Files of the last days that the ledger does not know: a gateway died between making one and noting it, or somebody put it there. */
async function recoverUnknown(dir: string, known: Known, { finder, ledger, log }: Tools): Promise<void> {
  const since = dayOf(Math.max(0, known.lastAt - 86_400_000))
  for (const day of (await listDays(dir)).filter((name) => name >= since)) {
    for (const session of await listSessions(dir, day)) {
      if (known.has(session)) continue
      const path = join(dir, day, `${session}.jsonl`)
      const found = await recoverChain(path, session, { keys: finder, aside: asideOf(path) })
      if (found.signed && found.fault === null) noteRecovered(ledger, session, found)
      else {
        await rename(path, `${path.slice(0, -6)}.unknown`)
        const fault = found.fault?.why ?? 'nothing in it was signed'
        ledger.note({
          kind: 'session-recovered',
          session,
          head: originOf(session),
          blocks: 0,
          lost: found.lost,
          fault,
        })
      }
      log.warn({ session, fault: found.fault?.why }, 'a recording was not in the ledger')
    }
  }
}

function noteRecovered(ledger: Ledger, session: string, { state, lost, fault }: Recovered): void {
  const { head, blocks } = state
  ledger.note({
    kind: 'session-recovered',
    session,
    head,
    blocks,
    lost,
    ...(fault !== null && { fault: `line ${fault.line}: ${fault.why}` }),
  })
}

function asideOf(path: string): string {
  return `${path.slice(0, -6)}.torn`
}
