import { generateKeyPairSync, sign } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { vi } from 'vitest'
import type { LedgerEvent, RecordEvent, Recordings } from '../../gateway/recording/event.ts'
import { type MarkPlace, markFile } from '../../gateway/recording/mark.ts'
import {
  type GatewayRecordings,
  openRecordings,
  type RecordingsOptions,
} from '../../gateway/recording/recordings.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
export const publicJwk = { ...publicKey.export({ format: 'jwk' }), kid: 'recording-1' }
export const keys = {
  sign: (data: Uint8Array) => sign(null, data, privateKey),
  kid: 'recording-1',
  publicJwk,
}

export const privatePem = String(privateKey.export({ type: 'pkcs8', format: 'pem' }))

export const quiet: RecordingsOptions['log'] = { info: () => {}, warn: () => {}, error: () => {} }

/** A folder that is gone after the test. */
export function makeFolder(): { dir: string; remove: () => void } {
  const parent = mkdtempSync(join(tmpdir(), 'hoop-recording-'))
  return { dir: join(parent, 'recordings'), remove: () => rmSync(parent, { recursive: true, force: true }) }
}

/** Where a gateway of this folder keeps the head of its ledger. */
export const placesOf = (dir: string): readonly MarkPlace[] => [markFile(join(dirname(dir), 'ledger.head'))]

export function open(dir: string, options: Partial<RecordingsOptions> = {}): Promise<GatewayRecordings> {
  return openRecordings({ dir, keys, log: quiet, places: placesOf(dir), ...options })
}

export function startOf(session: string, statement = 'a.b.c'): Extract<RecordEvent, { kind: 'start' }> {
  return {
    kind: 'start',
    session,
    protocol: 'postgres',
    connection: 'orders-db',
    chain: [{ id: 'idn_a', stage: 'deploy', thumbprint: 'tp', statement }],
    origin: { issuer: 'github', platform: 'github', claims: { repository_id: '1' }, url: null },
    policy: 'p1',
    agent: 'psql',
    client: '127.0.0.1',
  }
}

export const request = (text: string): Extract<RecordEvent, { kind: 'request'; text: string }> => ({
  kind: 'request',
  text,
  operations: [{ action: 'select', resource: 'public.orders' }],
  parameters: ['1', null],
  effect: 'allow',
  rule: 'deploy/orders-db allow[0]',
})

export const end: Extract<RecordEvent, { kind: 'end' }> = {
  kind: 'end',
  why: 'client left',
  allowed: 3,
  held: 0,
  denied: 0,
  masked: 0,
}

export const identity: Extract<LedgerEvent, { kind: 'identity' }> = {
  kind: 'identity',
  identity: 'idn_a',
  parent: null,
  stage: 'deploy',
  origin: { issuer: 'github', platform: 'github', claims: {}, url: null },
  thumbprint: 'tp',
}

/** Has `work` done by recordings that take the time for `at` (ISO 8601). */
export async function recordAt(
  dir: string,
  at: string,
  work: (recordings: GatewayRecordings) => Promise<unknown>,
): Promise<void> {
  vi.useFakeTimers({ now: new Date(at), toFake: ['Date'] })
  try {
    const recordings = await open(dir)
    await work(recordings)
    await recordings.close('stopped')
  } finally {
    vi.useRealTimers()
  }
}

/** A session of some requests with answers, each its own block. */
export async function recordSession(
  recordings: Recordings,
  session: string,
  requests = 3,
  statement?: string,
): Promise<void> {
  const recorder = await recordings.open(startOf(session, statement))
  for (let i = 0; i < requests; i++) {
    recorder.record(request(`select ${i} from orders -- ünï`))
    recorder.answer([Buffer.from(`row ${i}`)])
    recorder.flush()
  }
  await recorder.close(end)
}
