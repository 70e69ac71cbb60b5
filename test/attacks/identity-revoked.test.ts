import { setTimeout } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  type Job,
  type TestGateway,
  derOf,
  exchangeOwn,
  exchangeToken,
  gatewayUrl,
  makeKey,
  startChild,
  startGateway,
  startJob,
} from '../identity/gateway.ts'

// What ended stays ended, with all below it, at once and for good.

let gateway: TestGateway
beforeEach(async () => {
  gateway = await startGateway()
})
afterEach(() => gateway.close())

const identify = (job: Job): ReturnType<TestGateway['identities']['identify']> =>
  gateway.identities.identify({ kind: 'certificate', der: derOf(job.answer.client_certificate) })

test('revocation cuts what runs, three levels down, and leaves the siblings', async () => {
  const job = await startJob(gateway)
  const child = await startChild(gateway, job)
  const grandchild = await startChild(gateway, child, 'stage:migrate')
  const sibling = await startChild(gateway, job)
  const live = await Promise.all([job, child, grandchild, sibling].map(identify))
  const reasons: unknown[] = []
  live[2]?.ended.addEventListener('abort', () => reasons.push(live[2]?.ended.reason))
  await gateway.identities.revoke(child.answer.access_token)
  expect(live.map((identity) => identity.ended.aborted)).toEqual([false, true, true, false])
  expect(reasons).toMatchObject([{ code: 'identity_ended' }])
  expect(gateway.events.filter((event) => event.kind === 'revoked').map((event) => event.identity)).toEqual([
    child.answer.identity,
    grandchild.answer.identity,
  ])
  for (const dead of [child, grandchild]) {
    await expect(identify(dead)).rejects.toMatchObject({ code: 'identity_ended' })
    await expect(exchangeOwn(gateway, { parent: dead })).rejects.toMatchObject({ code: 'identity_ended' })
    await expect(startChild(gateway, dead)).rejects.toMatchObject({ code: 'identity_ended' })
  }
  expect((await identify(sibling)).ended.aborted).toBe(false)
})

test('a child of a revoked parent is dead after a restart too', async () => {
  const job = await startJob(gateway)
  const child = await startChild(gateway, job)
  await gateway.identities.revoke(job.answer.access_token)
  await gateway.restart()
  await expect(identify(child)).rejects.toMatchObject({ code: 'identity_ended' })
  expect((await gateway.identities.find(child.answer.identity))?.ended.aborted).toBe(true)
})

test('a child asked for while its parent is revoked does not live', async () => {
  for (let round = 0; round < 12; round++) {
    const job = await startJob(gateway)
    const outcomes = await Promise.allSettled([
      ...Array.from({ length: 8 }, () => startChild(gateway, job)),
      // At another point of their making each time.
      setTimeout(round).then(() => gateway.identities.end(job.answer.identity, 'test')),
    ])
    for (const outcome of outcomes) {
      if (outcome.status !== 'fulfilled' || typeof outcome.value === 'boolean') continue
      await expect(identify(outcome.value)).rejects.toMatchObject({ code: 'identity_ended' })
    }
    const alive = await gateway.store.db
      .selectFrom('identities')
      .select('id')
      .where('revoked_at', 'is', null)
      .execute()
    expect(alive).toEqual([])
  }
})

test('revoking what is no token of ours changes nothing and says nothing (RFC 7009)', async () => {
  const job = await startJob(gateway)
  const platform = await gateway.issue()
  for (const token of [
    job.answer.identity,
    'x',
    '',
    platform,
    `${job.answer.access_token.slice(0, -8)}AAAAAAAA`,
  ]) {
    await gateway.identities.revoke(token)
  }
  expect((await identify(job)).ended.aborted).toBe(false)
  expect(gateway.events.filter((event) => event.kind === 'revoked')).toEqual([])
})

test('an expired token still ends its identity, which a platform token could renew', async () => {
  const key = makeKey()
  const token = await gateway.issue({ environment: 'production' })
  const answer = await exchangeToken(gateway, { token, key, scope: 'stage:deploy' })
  gateway.ahead += 16 * 60_000
  await expect(identify({ answer, key })).rejects.toMatchObject({ code: 'identity_expired' })
  await gateway.identities.revoke(answer.access_token)
  expect((await gateway.identities.find(answer.identity))?.ended.aborted).toBe(true)
})

test('an expired parent takes its children with it, and what runs can see when', async () => {
  const job = await startJob(gateway, { fields: { ttl: '60' } })
  const child = await startChild(gateway, job)
  const identity = await identify(child)
  gateway.ahead += 61_000
  expect(identity.expiresAt).toBeLessThan(Date.now() + gateway.ahead)
  await expect(
    gateway.identities.identifyRequest({
      authorization: `DPoP ${child.answer.access_token}`,
      dpop: await child.key.prove(),
      method: 'GET',
      url: gatewayUrl,
      clientCertificateDer: null,
    }),
  ).rejects.toMatchObject({ code: 'identity_expired' })
})

test('what is over is removed after thirty days, and a platform token is remembered while it is good', async () => {
  const job = await startJob(gateway)
  await startChild(gateway, job)
  gateway.ahead += 29 * 86_400_000
  await gateway.identities.clean()
  const count = async (table: 'identities' | 'jobs' | 'platform_tokens'): Promise<number> =>
    (await gateway.store.db.selectFrom(table).selectAll().execute()).length
  expect([await count('identities'), await count('jobs'), await count('platform_tokens')]).toEqual([2, 1, 0])
  gateway.ahead += 2 * 86_400_000
  expect(await gateway.identities.clean()).toBeGreaterThan(0)
  expect([await count('identities'), await count('jobs')]).toEqual([0, 0])
  const another = await startJob(gateway)
  // However many there are: what an hour leaves behind would be more each hour.
  const digests = Array.from({ length: 1201 }, (_, index) => `old ${index}`)
  for (const digest of digests)
    await gateway.store.db
      .insertInto('platform_tokens')
      .values({ digest, thumbprint: 't', identity: another.answer.identity, expires_at: 0 })
      .execute()
  await gateway.identities.clean()
  expect(await count('platform_tokens')).toBe(1)
  await expect(identify(another)).resolves.toBeDefined()
})

test('an identity that is being read from the store while it is revoked comes out ended', async () => {
  const job = await startJob(gateway)
  for (let round = 0; round < 10; round++) {
    const child = await startChild(gateway, job)
    await gateway.restart()
    const [found] = await Promise.all([
      gateway.identities.find(child.answer.identity),
      (async () => {
        for (let turn = 0; turn < round; turn++) await Promise.resolve()
        await gateway.identities.end(child.answer.identity, 'test')
      })(),
    ])
    expect(found?.ended.aborted).toBe(true)
    await expect(identify(child)).rejects.toMatchObject({ code: 'identity_ended' })
  }
})
