import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { SessionView } from '../../gateway/core/contract.ts'
import type { Incoming } from '../../client/transport.ts'
import type { Operator } from './operator.ts'

const page = 500
const sessionIds = /ses_[a-z2-7]{26}/g

/** The session that a page, a link of the summary or a path of the interface names, or null when the URL is the gateway's own. */
export function sessionIn(url: URL): string | null {
  return /\/(ses_[a-z2-7]{26})$/.exec(url.pathname)?.[1] ?? null
}

/** Fetches one recording into a folder; gives its path. */
export async function downloadRecording(operator: Operator, folder: string, id: string): Promise<string> {
  const { body } = await operator.fetch(`/api/v1/recordings/${id}`)
  const path = join(folder, `${id}.jsonl`)
  await writeFile(path, body, { mode: 0o600 })
  return path
}

/**
 * Fetches the ledger and the recordings that it names, laid out as the gateway keeps them. The ledger comes first: a
 * recording may then only be ahead of it, never behind. What it says is removed is not asked for. Gives the head that the gateway says its ledger holds.
 */
export async function downloadRecordings(operator: Operator, folder: string): Promise<string | undefined> {
  const named = new Set<string>()
  const fetchLedger = async (file: string): Promise<Incoming> => {
    const ledger = await operator.fetch(`/api/v1/audit/ledger?file=${file}`)
    await writeFile(join(folder, file), ledger.body, { mode: 0o600 })
    const text = ledger.body.toString('utf8')
    for (const id of text.match(sessionIds) ?? []) named.add(id)
    for (const [line] of text.matchAll(/^\{"seq":\d+,"at":\d+,"kind":"removed",.*/gm))
      for (const id of line.match(sessionIds) ?? []) named.delete(id)
    return ledger
  }
  // The head that is given with the first is in the last, which is fetched later.
  const first = await fetchLedger('ledger.jsonl')
  const names = String(first.headers['hoop-ledger-files'] ?? '').match(/\bledger-\d+\.jsonl\b/g) ?? []
  for (const name of names) await fetchLedger(name)
  for await (const { id, started_at } of listAll(operator)) {
    if (!named.has(id)) continue
    const day = join(folder, started_at.slice(0, 10))
    await mkdir(day, { recursive: true, mode: 0o700 })
    await downloadRecording(operator, day, id)
  }
  const head = first.headers['hoop-ledger-head']
  return typeof head === 'string' ? head : undefined
}

async function* listAll(operator: Operator): AsyncGenerator<SessionView> {
  for (let before = ''; ; ) {
    const rows = await operator.list<SessionView>(`/api/v1/sessions?limit=${page}${before}`)
    yield* rows
    const last = rows.at(-1)
    if (last === undefined || rows.length < page) return
    before = `&before=${last.id}`
  }
}
