import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync } from 'node:fs'
import { readdir, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.ts'
import type { KeyFinder } from './read-chain.ts'

// DIR/keys.json, DIR/ledger.jsonl (then ledger-002.jsonl …), DIR/YYYY-MM-DD/SESSION.jsonl, DIR/YYYY-MM-DD/SESSION.torn

const sessionName = /^[A-Za-z0-9_-]{1,64}$/
const dayName = /^\d{4}-\d{2}-\d{2}$/
const ledgerName = /^ledger(-\d{3,6})?\.jsonl$/

/** A session, and with it the day of its file, begins a little before its first record: at midnight that is the day before. */
const begunWithin = 60_000
/** Milliseconds. */
export const dayLength = 86_400_000

/** The folder of a day (UTC), made if need be. Sessions' names are checked, because they become names of files. */
export function sessionPath(dir: string, session: string, at: number): { folder: string; path: string } {
  if (!isSessionName(session))
    throw new GatewayError('recording_failed', 'a session of this name cannot be recorded')
  const folder = join(dir, dayOf(at))
  return { folder, path: join(folder, `${session}.jsonl`) }
}

export function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}

/** Whether a recording may lie under a day whose first record is of `began`; milliseconds since the epoch. */
export function isDayOf(day: string, began: number): boolean {
  return dayOf(began) === day || dayOf(began - begunWithin) === day
}

/** Whether this is the name of a day of the calendar: `2026-03-01`. */
export function isDay(name: string): boolean {
  const at = dayName.test(name) ? Date.parse(name) : Number.NaN
  return !Number.isNaN(at) && dayOf(at) === name
}

/** Whether a session of this name can have a recording: the name becomes that of a file. */
export function isSessionName(name: string): boolean {
  return sessionName.test(name)
}

/** Makes a folder that only the gateway may enter. Throws `GatewayError` `recording_failed`. */
export function makePrivateFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    chmodSync(path, 0o700)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
    throw new GatewayError('recording_failed', `the folder ${path} cannot be made private (${code})`, {
      cause: error,
    })
  }
}

/** The path of a session's recording, or null when there is none. */
export async function findRecording(dir: string, session: string): Promise<string | null> {
  if (!isSessionName(session)) return null
  for (const day of (await listDays(dir)).toReversed()) {
    const path = join(dir, day, `${session}.jsonl`)
    if (await isFile(path)) return path
  }
  return null
}

export async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch {
    // Not there, or not to be looked at: both are "no file".
    return false
  }
}

/** Whether an error says that there is nothing of that name. */
export function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

/** Days that have recordings, in order. */
export async function listDays(dir: string): Promise<string[]> {
  return (await readdir(dir)).filter((name) => dayName.test(name)).toSorted()
}

/** Sessions recorded on a day; none when it was removed meanwhile. */
export async function listSessions(dir: string, day: string): Promise<string[]> {
  const names = await readdir(join(dir, day)).catch((error: unknown) => {
    if (isGone(error)) return []
    throw error
  })
  return names
    .filter((name) => name.endsWith('.jsonl'))
    .map((name) => name.slice(0, -6))
    .toSorted()
}

/** Names of the ledger's files, oldest first. */
export async function listLedgers(dir: string): Promise<string[]> {
  return (await readdir(dir))
    .filter((name) => ledgerName.test(name))
    .toSorted((a, b) => segmentOf(a) - segmentOf(b))
}

/** What a ledger's chain is called: the name of its file. */
export function ledgerChain(file: string): string {
  return file.slice(0, -'.jsonl'.length)
}

/** The name of the file that follows these ledgers. */
export function nextLedger(files: readonly string[]): string {
  return `ledger-${String(Math.max(...files.map(segmentOf)) + 1).padStart(3, '0')}.jsonl`
}

function segmentOf(file: string): number {
  return Number(/\d+/.exec(file)?.[0] ?? 1)
}

/** Finds keys by their `kid` among JWKs. */
export function keyFinder(keys: readonly JsonWebKey[]): KeyFinder {
  const found = new Map<string, KeyObject | null>()
  return (kid) => {
    let key = found.get(kid)
    if (key === undefined) {
      const jwk = keys.find((one) => one.kid === kid)
      key = jwk === undefined ? null : createPublicKey({ key: jwk, format: 'jwk' })
      if (key?.asymmetricKeyType !== 'ed25519') key = null
      if (found.size < 64) found.set(kid, key)
    }
    return key
  }
}

/** The keys that a folder of recordings names as its own; none when it names none. */
export function readKeys(dir: string): JsonWebKey[] {
  let text: string
  try {
    text = readFileSync(join(dir, 'keys.json'), 'utf8')
  } catch (error) {
    if (isGone(error)) return []
    throw new GatewayError('recording_failed', `cannot read ${join(dir, 'keys.json')}`, { cause: error })
  }
  try {
    const value: { keys?: unknown } = JSON.parse(text)
    if (Array.isArray(value.keys)) return value.keys.filter((key) => typeof key === 'object' && key !== null)
  } catch (error) {
    throw new GatewayError('recording_failed', `${join(dir, 'keys.json')} is damaged`, { cause: error })
  }
  throw new GatewayError('recording_failed', `${join(dir, 'keys.json')} is damaged`)
}

/** Adds a public key to those that the folder names. */
export async function keepKey(dir: string, key: JsonWebKey): Promise<void> {
  const keys = readKeys(dir)
  if (keys.some(({ kid }) => kid === key.kid)) return
  const path = join(dir, 'keys.json')
  await writeFile(`${path}.new`, `${JSON.stringify({ keys: [...keys, key] }, null, 2)}\n`, {
    mode: 0o600,
    flush: true,
  })
  await rename(`${path}.new`, path)
}
