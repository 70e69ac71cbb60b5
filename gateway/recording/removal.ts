import { createHash } from 'node:crypto'
import { lstat, readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.ts'
import { syncFolder } from './disk.ts'
import type { LedgerEvent } from './event.ts'
import { dayLength, dayOf, isDay, isDayOf, isSessionName, listDays } from './files.ts'
import { type KeyFinder, readChain } from './read-chain.ts'
import type { Head } from './session-recordings.ts'

const sessionsPerRecord = 1000

/** What became of the days that are older than recordings are kept. */
export interface Removal {
  /** The beginning of the oldest day that is kept by its age, in milliseconds since the epoch. */
  readonly before: number
  readonly removed: readonly { readonly day: string; readonly sessions: number }[]
  /** Older days whose recordings are still there, and why. */
  readonly kept: readonly { readonly day: string; readonly why: string }[]
}

/** What a removal works with. */
export interface RemovalTools {
  readonly dir: string
  readonly finder: KeyFinder
  /** Whether a session is not over. */
  readonly isOpen: (session: string) => boolean
  /** Adds to the ledger, signed; on disk, and its head kept, when it resolves. */
  readonly declare: (events: readonly LedgerEvent[]) => Promise<void>
  /** Sessions of which the ledger says since this start that they are removed. */
  readonly declared: Set<string>
  readonly signal: AbortSignal
}

/**
 * Removes days that were over `keep` days before `now`, the oldest first, each after the ledger says so. A day stays, as a
 * whole, with a recording that is open, does not verify or was moved there: it would be proof that something was done to it.
 * What the gateway did not write stays where it is.
 */
export async function removeDays(
  { keep, now }: { readonly keep: number; readonly now: number },
  tools: RemovalTools,
): Promise<Removal> {
  const first = dayOf(Math.max(0, now - keep * dayLength))
  const removed: { day: string; sessions: number }[] = []
  const kept: { day: string; why: string }[] = []
  for (const day of (await listDays(tools.dir)).filter(isDay)) {
    if (day >= first || tools.signal.aborted) break
    try {
      const sessions = await removeDay(day, keep, tools)
      if (sessions > 0) removed.push({ day, sessions })
    } catch (error) {
      if (tools.signal.aborted) break
      kept.push({ day, why: whyOf(error) })
    }
  }
  return { before: Date.parse(first), removed, kept }
}

/** Hex of the SHA-256 over the recordings' last heads, a line each: `SESSION HEAD BLOCKS`. */
export function removalDigest(heads: readonly Head[]): string {
  const digest = createHash('sha256')
  for (const { session, head, blocks } of heads) digest.update(`${session} ${head} ${blocks}\n`)
  return digest.digest('hex')
}

/** Gives how many recordings it removed; rejects where any has to stay, before anything is removed. */
async function removeDay(day: string, keep: number, tools: RemovalTools): Promise<number> {
  const { dir, declare, declared, signal } = tools
  const folder = join(dir, day)
  if (!(await lstat(folder)).isDirectory()) throw stays(`${folder} is no folder of the gateway's`)
  const heads: Head[] = []
  for (const name of (await readdir(folder)).toSorted())
    if (name.endsWith('.jsonl')) heads.push(await headOf(day, name.slice(0, -6), tools))
  const events: LedgerEvent[] = []
  const news = heads.filter(({ session }) => !declared.has(session))
  for (let from = 0; from < news.length; from += sessionsPerRecord) {
    const some = news.slice(from, from + sessionsPerRecord)
    const sessions = some.map(({ session }) => session)
    events.push({ kind: 'removed', day, keep, sessions, digest: removalDigest(some) })
  }
  if (events.length > 0) await declare(events)
  for (const { session } of news) declared.add(session)
  for (const { session } of heads) {
    signal.throwIfAborted()
    // A crash between the two must leave the one that shows what is left to do.
    for (const end of ['torn', 'jsonl']) await rm(join(folder, `${session}.${end}`), { force: true })
    declared.delete(session)
  }
  await syncFolder(folder)
  await rmdir(folder).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOTEMPTY') throw error
  })
  return heads.length
}

/** Where a recording ends that may go; rejects when it has to stay. */
async function headOf(day: string, session: string, tools: RemovalTools): Promise<Head> {
  const { dir, finder, isOpen, signal } = tools
  const path = join(dir, day, `${session}.jsonl`)
  if (!isSessionName(session) || !(await lstat(path)).isFile()) throw stays(`${path} is no recording`)
  if (isOpen(session)) throw stays(`session ${session} is not closed: the gateway's next start closes it`)
  let head: Head | null = null
  let began: number | null = null
  let signed = false
  for await (const part of readChain(path, session, finder)) {
    signal.throwIfAborted()
    if (part.kind === 'fault') throw stays(`${path}, line ${part.fault.line}: ${part.fault.why}`)
    if (part.kind === 'block') began ??= part.events[0]?.at ?? null
    signed ||= part.kind === 'signature'
    head = { session, head: part.state.head, blocks: part.state.blocks }
  }
  if (head === null || began === null || !signed) throw stays(`${path} is not signed`)
  if (!isDayOf(day, began)) throw stays(`${path} began on ${dayOf(began)}: it was moved`)
  return head
}

function stays(why: string): GatewayError {
  return new GatewayError('recording_failed', why)
}

function whyOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
