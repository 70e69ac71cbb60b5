import { Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Leases } from '../../gateway/identity/leases.ts'
import { LiveIdentity } from '../../gateway/identity/tree.ts'
import {
  type Job,
  type TestGateway,
  type TestKey,
  exchangeOwn,
  gatewayUrl,
  makeKey,
  proofTime,
  startChild,
  startGateway,
  startJob,
} from '../identity/gateway.ts'

// An identity that somebody runs ends with them, whatever the processes below do with the key that they were given.

const url = `${gatewayUrl}/oauth/lease`

let gateway: TestGateway
let parent: Job
let holder: TestKey
let child: Job
beforeEach(async () => {
  gateway = await startGateway()
  parent = await startJob(gateway)
  holder = makeKey()
  child = await startChild(gateway, parent, 'connection:orders-db:read', lease(holder))
})
afterEach(async () => {
  gateway.identities.close()
  await gateway.close()
})

const lease = (key: TestKey): { lease_jwk: string } => ({ lease_jwk: JSON.stringify(key.jwk) })

/** One word for an identity, by `key`; the connection is given, too. */
async function speak(
  key: TestKey,
  token = child.answer.access_token,
  dpop?: string,
): Promise<{ connection: Socket; proof: string; next: Promise<number>; proved: Promise<void> }> {
  const connection = new Socket()
  const proof = dpop ?? (await key.prove({ claims: { ...proofTime(gateway).claims, htu: url }, token }))
  const { promise: proved, resolve } = Promise.withResolvers<void>()
  const next = gateway.identities.hold({
    token,
    dpop: proof,
    method: 'POST',
    url,
    connection,
    proved: resolve,
  })
  next.catch(() => undefined)
  return { connection, proof, next, proved }
}

async function isEnded(job: Job): Promise<boolean> {
  return (await gateway.identities.find(job.answer.identity))?.ended.aborted ?? true
}

describe('the holder’s end', () => {
  test('ends the identity and all below it, and no other', async () => {
    const below = await startChild(gateway, child)
    const beside = await startChild(gateway, parent)
    const { connection, proved } = await speak(holder)
    await proved
    connection.destroy()
    await vi.waitFor(async () => expect(await isEnded(child)).toBe(true), { timeout: 10_000 })
    expect([await isEnded(below), await isEnded(beside), await isEnded(parent)]).toEqual([true, false, false])
    expect(gateway.events).toContainEqual({
      kind: 'revoked',
      identity: child.answer.identity,
      why: 'whoever ran it is gone',
    })
    await expect((await speak(holder)).next).rejects.toMatchObject({ code: 'identity_ended' })
  })

  test('is not a connection that another has taken the place of', async () => {
    const first = await speak(holder)
    await first.proved
    const second = await speak(holder)
    await second.proved
    first.connection.destroy()
    await new Promise((resolve) => setTimeout(resolve, 1200))
    expect(await isEnded(child)).toBe(false)
    second.connection.destroy()
    await vi.waitFor(async () => expect(await isEnded(child)).toBe(true), { timeout: 10_000 })
  })

  test('is told at once of the identity’s own', async () => {
    const { next, proved } = await speak(holder)
    await proved
    await gateway.identities.end(parent.answer.identity, 'test')
    await expect(next).rejects.toMatchObject({ code: 'identity_ended' })
  })

  test('counts also after the gateway was started again', async () => {
    gateway.identities.close()
    await gateway.restart()
    await gateway.identities.recover()
    const { connection, proved } = await speak(holder)
    await proved
    connection.destroy()
    await vi.waitFor(async () => expect(await isEnded(child)).toBe(true), { timeout: 10_000 })
  })
})

describe('nobody else keeps it alive', () => {
  test('neither its own key, nor its parent’s, nor another', async () => {
    for (const key of [child.key, parent.key, makeKey()]) {
      await expect((await speak(key)).next).rejects.toMatchObject({ code: 'unauthenticated' })
    }
  })

  test('nor a proof that was used, or was made for something else', async () => {
    const { proof, proved } = await speak(holder)
    await proved
    await expect((await speak(holder, undefined, proof)).next).rejects.toMatchObject({
      code: 'invalid_proof',
    })
    const elsewhere = await holder.prove({ ...proofTime(gateway), token: child.answer.access_token })
    await expect((await speak(holder, undefined, elsewhere)).next).rejects.toMatchObject({
      code: 'invalid_proof',
    })
    const tokenless = await holder.prove({ claims: { ...proofTime(gateway).claims, htu: url } })
    await expect((await speak(holder, undefined, tokenless)).next).rejects.toMatchObject({
      code: 'invalid_proof',
    })
  })

  test('nor the lease of another identity', async () => {
    const other = await startChild(gateway, parent, undefined, lease(makeKey()))
    await expect((await speak(holder, other.answer.access_token)).next).rejects.toMatchObject({
      code: 'unauthenticated',
    })
    await expect((await speak(holder, parent.answer.access_token)).next).rejects.toMatchObject({
      code: 'unauthenticated',
    })
  })

  test('nor the identity’s own key named as its lease', async () => {
    const key = makeKey()
    const asked = exchangeOwn(gateway, { parent, child: key, fields: lease(key) })
    await expect(asked).rejects.toMatchObject({ code: 'invalid_request' })
  })

  test('nor a renewal, which changes and prolongs no lease', async () => {
    const renewed = exchangeOwn(gateway, { parent: child, fields: lease(makeKey()) })
    await expect(renewed).rejects.toMatchObject({ code: 'invalid_request' })
    const { connection, proved } = await speak(holder)
    await proved
    connection.destroy()
    await exchangeOwn(gateway, { parent: child })
    await vi.waitFor(async () => expect(await isEnded(child)).toBe(true), { timeout: 10_000 })
  })
})

describe('a holder that says nothing', () => {
  const identity = (): LiveIdentity => {
    const row = {
      id: 'idn_a',
      parent: null,
      root: 'idn_a',
      stage: 's',
      origin: '{}',
      connections: '[]',
      binding: 'required' as const,
      thumbprint: 't',
      public_jwk: '{}',
      statement: '',
      created_at: 0,
      expires_at: 9e15,
      renewable_until: 9e15,
      revoked_at: null,
      revoked_why: null,
      audit_only: 0,
    }
    return new LiveIdentity({ ...row, lease: 'l' }, null)
  }
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  test('never, or no more, or over a connection that stays open, is gone', async () => {
    for (const words of [0, 1, 3]) {
      const lapsed: string[] = []
      const leases = new Leases(async (id) => lapsed.push(id))
      const connection = new Socket()
      leases.begin('idn_a')
      for (let word = 0; word < words; word++) {
        const next = leases.hold(identity(), connection)
        await vi.advanceTimersByTimeAsync(5000)
        expect(await next).toBe(15_000)
        await vi.advanceTimersByTimeAsync(14_000)
        expect(lapsed).toEqual([])
      }
      await vi.advanceTimersByTimeAsync(15_000)
      expect(lapsed).toEqual(['idn_a'])
      expect(connection.listenerCount('close')).toBe(0)
    }
  })

  test('is ended again and again until the store takes it', async () => {
    let tries = 0
    const leases = new Leases(async () => {
      if (++tries < 3) throw new Error('disk full')
    })
    leases.begin('idn_a')
    await vi.advanceTimersByTimeAsync(60_000)
    expect(tries).toBe(3)
  })
})
