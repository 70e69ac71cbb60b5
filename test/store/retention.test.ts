import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Store, openStore } from '../../gateway/store/open.ts'
import { removeRows } from '../../gateway/store/retention.ts'

const day = 86_400_000
const now = 100 * day
const { signal } = new AbortController()
let store: Store
beforeEach(async () => {
  store = await openStore(':memory:')
})
afterEach(() => store.close())

const identity = (id: string, renewableUntil: number) =>
  store.db
    .insertInto('identities')
    .values({
      id,
      parent: null,
      root: id,
      stage: 'deploy',
      origin: '{}',
      connections: '[]',
      binding: 'required',
      thumbprint: id,
      public_jwk: '{}',
      statement: 'a.b.c',
      created_at: 0,
      expires_at: renewableUntil,
      renewable_until: renewableUntil,
      revoked_at: null,
      revoked_why: null,
      lease: null,
      audit_only: 0,
    })
    .execute()

const session = (id: string, startedAt: number, endedAt: number | null) => ({
  id,
  identity: 'idn_over',
  root: 'idn_over',
  stage: 'deploy',
  connection: 'orders-db',
  protocol: 'postgres',
  started_at: startedAt,
  ended_at: endedAt,
  end: null,
  allowed: 0,
  held: 0,
  denied: 0,
  masked: 0,
})

const approval = (
  id: string,
  requestedAt: number,
  about: { state: 'pending' | 'approved' | 'denied' | 'used'; identity?: string },
) =>
  store.db
    .insertInto('approvals')
    .values({
      id,
      identity: 'idn_over',
      session: 'ses_1',
      connection: 'orders-db',
      stage: 'deploy',
      by: '["dba"]',
      rule: 'r',
      policy: 'p',
      operations: '[]',
      statement: 's',
      masks: '[]',
      digest: 'd',
      requested_at: requestedAt,
      expires_at: requestedAt + 1,
      decided_at: null,
      answers: '[]',
      reach: 'once',
      linger: 0,
      ...about,
    })
    .execute()

const posting = (id: string, done: number) =>
  store.db
    .insertInto('postings')
    .values({
      delivery: id,
      approval: id,
      place: '{}',
      gate: 'slack',
      groups: '[]',
      glass: null,
      handle: null,
      url: null,
      failure: null,
      tried_at: null,
      done,
    })
    .execute()

const ids = async (table: 'sessions' | 'approvals'): Promise<string[]> =>
  (await store.db.selectFrom(table).select('id').orderBy('id').execute()).map(({ id }) => id)

test('sessions that are over go by when they began; those that run, or are of other days, stay', async () => {
  const rows = [
    session('ses_before', 9 * day, 9 * day),
    session('ses_first', 10 * day, 10 * day + 1),
    session('ses_runs', 10 * day, null),
    session('ses_after', 11 * day, 11 * day + 1),
  ]
  await store.db.insertInto('sessions').values(rows).execute()
  expect(await removeRows(store, { from: 10 * day, to: 11 * day, now, signal })).toBe(1)
  expect(await ids('sessions')).toEqual(['ses_after', 'ses_before', 'ses_runs'])
})

test('approvals go with their postings once nothing of them lives', async () => {
  await identity('idn_lives', now + 1)
  await identity('idn_over', now - 1)
  for (const [id, state] of [
    ['apr_denied', 'denied'],
    ['apr_used', 'used'],
    ['apr_pending', 'pending'],
    ['apr_untold', 'denied'],
  ] as const)
    await approval(id, day, { state })
  // It may be good for the next request of the same identity, however old it is.
  await approval('apr_reused', day, { state: 'approved', identity: 'idn_lives' })
  await approval('apr_of_none', day, { state: 'approved', identity: 'idn_gone' })
  await approval('apr_newer', 11 * day, { state: 'denied' })
  for (const id of ['apr_used', 'apr_denied']) await posting(id, 1)
  await posting('apr_untold', 0)
  expect(await removeRows(store, { from: 0, to: 10 * day, now, signal })).toBe(3)
  expect(await ids('approvals')).toEqual(['apr_newer', 'apr_pending', 'apr_reused', 'apr_untold'])
  expect(await store.db.selectFrom('postings').select('delivery').execute()).toEqual([
    { delivery: 'apr_untold' },
  ])
})

test('many rows go in steps between which others have their turn', async () => {
  for (let i = 0; i < 40; i++) {
    const rows = Array.from({ length: 100 }, (_, n) => session(`ses_${i}_${n}`, day, day + 1))
    await store.db.insertInto('sessions').values(rows).execute()
  }
  const seen: number[] = []
  let over = false
  const watch = (async () => {
    while (!over) {
      seen.push((await ids('sessions')).length)
      await new Promise((turn) => setImmediate(turn))
    }
  })()
  expect(await removeRows(store, { from: 0, to: 2 * day, now, signal })).toBe(4000)
  over = true
  await watch
  expect(new Set(seen).size).toBeGreaterThan(4)
  const stopped = AbortSignal.abort()
  expect(await removeRows(store, { from: 0, to: 2 * day, now, signal: stopped })).toBe(0)
})
