import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { originOf } from './chain.ts'
import { dayOf, findRecording, isFile } from './files.ts'
import type { Ledger } from './ledger.ts'
import type { KeyFinder } from './read-chain.ts'
import { type Recovered, recoverChain } from './recovery.ts'

/** What recovering works with. */
export interface RecoveryTools {
  readonly finder: KeyFinder
  readonly ledger: Ledger
  readonly log: Pick<Logger, 'warn' | 'error'>
}

/** Closes one session in the ledger, on what is left of its file; it began at `since`, milliseconds since the epoch. */
export async function recoverSession(
  dir: string,
  session: string,
  since: number,
  { finder, ledger, log }: RecoveryTools,
): Promise<void> {
  for (const day of [dayOf(since), dayOf(since - 86_400_000)]) {
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

/** The same of a session of which the ledger knows nothing yet: whoever wrote it may have died before or after making its file. */
export async function recoverAlone(dir: string, session: string, tools: RecoveryTools): Promise<void> {
  const path = await findRecording(dir, session)
  if (path !== null) await adopt(path, session, tools)
}

/** Takes a file that is not in the ledger into it, or puts it aside when nothing proves that the gateway wrote it. */
export async function adopt(
  path: string,
  session: string,
  { finder, ledger, log }: RecoveryTools,
): Promise<void> {
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
