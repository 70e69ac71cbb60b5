import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.ts'
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
import { isWitness, Ledger } from './ledger.ts'
import { emptyMark, type Mark, type MarkPlace, type Marks, readMark } from './mark.ts'
import { type KeyFinder, type ReadEvent, readChain } from './read-chain.ts'
import { type RecoveryTools, adopt, recoverSession } from './recover-session.ts'
import type { RecordingsOptions } from './recordings.ts'
import { digestFile, digestOfNothing, recoverChain } from './recovery.ts'

interface LedgerOptions extends RecordingsOptions {
  readonly marks: Marks
  readonly places: readonly MarkPlace[]
}

/** What the ledger says of sessions: which are open, and which it knows at all on the days that may need recovery. */
class Known {
  /** Session, and when it started. */
  readonly open = new Map<string, number>()
  /** The sessions noted on each of the last days. */
  readonly #recent = new Map<string, Set<string>>()
  lastAt = 0
  witnessed = 0

  see({ at, event }: ReadEvent): void {
    this.lastAt = at
    if (isWitness(event)) this.witnessed = at
    const day = dayOf(at)
    let sessions = this.#recent.get(day)
    if (sessions === undefined) {
      sessions = new Set()
      this.#recent.set(day, sessions)
      // Older ones are of no concern to the search for unknown files.
      for (const old of this.#recent.keys()) if (old < dayOf(at - 3 * 86_400_000)) this.#recent.delete(old)
    }
    if (event.kind === 'open-sessions' && Array.isArray(event.sessions)) {
      for (const entry of event.sessions) {
        const { session, at: since }: Record<string, unknown> = Object(entry)
        if (typeof session === 'string' && typeof since === 'number') this.open.set(session, since)
      }
    }
    if (typeof event.session !== 'string') return
    sessions.add(event.session)
    if (event.kind === 'session-start') this.open.set(event.session, at)
    else if (event.kind === 'session-end' || event.kind === 'session-recovered')
      this.open.delete(event.session)
  }

  has(session: string): boolean {
    return this.open.has(session) || [...this.#recent.values()].some((sessions) => sessions.has(session))
  }
}

/** Opens the ledger to go on with it, after closing in it whatever a gateway that died left open. */
export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const { dir, log } = options
  const known = new Known()
  const finder = keyFinder(readKeys(dir))
  const ledger = await resume(options, finder, known)
  for (const [session, at] of known.open) await recoverSession(dir, session, at, { finder, ledger, log })
  await recoverUnknown(dir, known, { finder, ledger, log })
  await ledger.sync()
  return ledger
}

async function resume(options: LedgerOptions, finder: KeyFinder, known: Known): Promise<Ledger> {
  const { dir, keys, log, listEvery } = options
  const mark = await readMark(options.places, finder)
  const current = (await listLedgers(dir)).at(-1)
  if (mark === null && current === undefined) {
    // Before the ledger: one without a mark would be refused if this start went no further.
    await options.marks.keep(emptyMark('ledger'))
    return new Ledger('ledger', AppendFile.create(join(dir, 'ledger.jsonl')), keys, { listEvery })
  }
  if (mark === null) return succeed(options, null, 'the gateway has kept no head of it', { finder, known })
  const file = `${mark.ledger}.jsonl`
  const path = join(dir, file)
  if (current === undefined && mark.at.blocks === 0)
    return new Ledger(mark.ledger, AppendFile.create(path), keys, { listEvery })
  if (current !== file) {
    const why = (await isFile(path))
      ? `${current} follows it, which the gateway did not begin`
      : `it is missing, with the head that the gateway kept (${mark.at.head})`
    return succeed(options, mark, why, { finder, known })
  }
  const found = await recoverChain(path, mark.ledger, {
    keys: finder,
    aside: `${path.slice(0, -6)}.torn`,
    see: (event) => known.see(event),
    mark,
  })
  if (found.fault !== null) {
    const { line, offset, why } = found.fault
    return succeed(options, mark, `line ${line} (byte ${offset}): ${why}`, { finder, known: new Known() })
  }
  const ledger = new Ledger(mark.ledger, AppendFile.reopen(path), keys, {
    from: found,
    read: mark.from,
    listEvery,
    witnessed: known.witnessed,
  })
  if (found.lost > 0) {
    log.warn({ file: current, lost: found.lost }, 'the ledger had a torn end, which was moved aside')
    ledger.note({ kind: 'ledger-recovered', lost: found.lost })
  }
  return ledger
}

/**
 * Begins another ledger after one that is not what the gateway wrote, which is left as it is and stays at fault for
 * ever. Only if the operator said so, by the head that is missed: what accepts one loss accepts no other.
 */
async function succeed(
  { dir, keys, log, acceptLoss, marks, listEvery }: LedgerOptions,
  mark: Mark | null,
  why: string,
  { finder, known }: { finder: KeyFinder; known: Known },
): Promise<Ledger> {
  const files = await listLedgers(dir)
  const kept = mark === null ? [] : [`${mark.ledger}.jsonl`]
  const file = kept[0] ?? files.at(-1) ?? 'ledger.jsonl'
  const head = mark?.at.head ?? 'unknown'
  if (acceptLoss !== head) {
    throw new GatewayError(
      'recording_failed',
      `${join(dir, file)} is not what the gateway wrote: ${why}. Find out who changed it, and restore it if you can. ` +
        `To go on without what is missing, start the gateway once with --accept-ledger-loss ${head}: it leaves the file as it is, ` +
        'begins another ledger with a note of this, and every verification will report it',
    )
  }
  for (const one of files) {
    for await (const part of readChain(join(dir, one), ledgerChain(one), finder)) {
      if (part.kind === 'block') for (const event of part.events) known.see(event)
    }
  }
  const last = files.at(-1)
  const next = nextLedger([...files, ...kept])
  // The mark that is missed stays until there is something else to hold.
  const ledger = new Ledger(ledgerChain(next), AppendFile.create(join(dir, next)), keys, { listEvery })
  const digest = last === undefined ? digestOfNothing : await digestFile(join(dir, last))
  ledger.note({ kind: 'segment', follows: last ?? file, ...digest, fault: `${file}: ${why}` })
  await ledger.sync()
  await marks.keep(ledger.mark)
  log.warn({ file, why, next }, 'the loss of a part of the ledger was accepted')
  return ledger
}

/** Files that the ledger does not know: a gateway died between making one and noting it, or somebody put it there. */
async function recoverUnknown(
  dir: string,
  known: Known,
  { finder, ledger, log }: RecoveryTools,
): Promise<void> {
  for (const [session, path] of await listUnknown(dir, known, { finder, log })) {
    await adopt(path, session, { finder, ledger, log })
  }
}

/** Recordings of the ledger's last two days that were written to since shortly before its end, and are not in it. */
async function listUnknown(
  dir: string,
  known: Known,
  { finder, log }: Pick<RecoveryTools, 'finder' | 'log'>,
): Promise<Map<string, string>> {
  const unknown = new Map<string, string>()
  const since = dayOf(Math.max(0, known.lastAt - 86_400_000))
  for (const day of (await listDays(dir)).filter((name) => name >= since)) {
    for (const session of await listSessions(dir, day)) {
      if (known.has(session)) continue
      const path = join(dir, day, `${session}.jsonl`)
      if ((await stat(path)).mtimeMs >= known.lastAt - 60_000) unknown.set(session, path)
    }
  }
  // Most are only older than what was read of the ledger; all of it is read for them.
  const files = unknown.size === 0 ? [] : await listLedgers(dir)
  const current = files.at(-1)
  for (const file of files) {
    for await (const part of readChain(join(dir, file), ledgerChain(file), finder)) {
      if (part.kind === 'fault' && file === current) {
        // Then nobody can tell which are unknown: they stay as they are, and verification reports both.
        log.error({ ...part.fault }, 'the ledger is damaged in what a start need not read')
        return new Map()
      }
      if (part.kind !== 'block') continue
      for (const { event } of part.events)
        if (typeof event.session === 'string') unknown.delete(event.session)
    }
  }
  return unknown
}
