import { generateKeyPairSync } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type Job,
  type TestGateway,
  exchangeOwn,
  makeKey,
  startChild,
  startGateway,
  startJob,
} from '../identity/gateway.ts'

// A child is a strict part of its parent: no field of the request makes it more.

let gateway: TestGateway
let job: Job
beforeEach(async () => {
  gateway = await startGateway()
  job = await startJob(gateway, {
    scope: 'stage:deploy connection:orders-db:read connection:orders-db:insert',
  })
})
afterEach(() => gateway.close())

const identities = async (): Promise<number> =>
  (await gateway.store.db.selectFrom('identities').select('id').execute()).length

describe('a child is refused', () => {
  test.each([
    ['a stage that is not delegated', 'stage:test', 'denied'],
    ['a stage that does not exist', 'stage:nope', 'denied'],
    ['a stage of the prototype', 'stage:__proto__', 'invalid_scope'],
    ['two stages', 'stage:deploy stage:migrate', 'invalid_scope'],
    ['a connection that the parent left out', 'connection:users-db', 'invalid_scope'],
    [
      'a connection that the child stage grants and the parent has not',
      'stage:migrate connection:other-db',
      'invalid_scope',
    ],
    ['all operations of a narrowed connection', 'connection:orders-db', 'invalid_scope'],
    ['an operation beside the narrowing', 'connection:orders-db:delete', 'invalid_scope'],
    ['a group above the narrowing', 'connection:orders-db:write', 'invalid_scope'],
    ['a good operation and a bad one', 'connection:orders-db:read connection:orders-db:ddl', 'invalid_scope'],
    ['an operation in another case', 'connection:orders-db:READ', 'invalid_scope'],
    ['a star', 'connection:orders-db:*', 'invalid_scope'],
    ['an operation of the prototype', 'connection:orders-db:constructor', 'invalid_scope'],
    [
      'the same connection narrowed and whole',
      'connection:orders-db:read connection:orders-db',
      'invalid_scope',
    ],
    ['the same entry twice', 'connection:orders-db:read connection:orders-db:read', 'invalid_scope'],
    ['entries parted by something else', 'connection:orders-db:read\tconnection:users-db', 'invalid_scope'],
    ['two spaces', 'connection:orders-db:read  connection:users-db', 'invalid_scope'],
    ['a scope without end', 'connection:orders-db:read '.repeat(1000), 'invalid_scope'],
  ])('%s', async (_, scope, code) => {
    await expect(startChild(gateway, job, scope)).rejects.toMatchObject({ code })
    expect(await identities()).toBe(1)
    expect(gateway.events.at(-1)).toMatchObject({ kind: 'refused', code })
  })

  test.each([
    ['an actor token', { actor_token: 'x', actor_token_type: 'y' }],
    ['another audience', { audience: 'https://other.example' }],
    ['another resource', { resource: 'https://other.example' }],
    ['another kind of token', { requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }],
    ['another grant type', { grant_type: 'client_credentials' }],
    ['the wrong kind of subject', { subject_token_type: 'urn:ietf:params:oauth:token-type:id_token' }],
    ['no kind of subject', { subject_token_type: undefined }],
    ['fields that come twice', { scope: ['connection:orders-db:read', 'connection:users-db'] }],
    ['two ways to say how long', { ttl: '60', requested_ttl: '600' }],
    ['a life of nothing', { ttl: '0' }],
    ['a life below nothing', { ttl: '-60' }],
    ['a life that is no number', { ttl: '1e9' }],
    ['a lease that is no key', { lease_jwk: '{}' }],
    ['looking on, said in another way', { audit_only: '1' }],
    ['looking on twice', { audit_only: ['true', 'false'] }],
  ])('%s', async (_, fields) => {
    await expect(startChild(gateway, job, undefined, fields)).rejects.toMatchObject({
      code: expect.stringMatching(/invalid_request|unsupported/),
    })
    expect(await identities()).toBe(1)
  })

  test.each([
    ['its private key', () => ({ ...makeKey().jwk, d: makeKey().jwk.x })],
    ['a symmetric key', () => ({ kty: 'oct', k: 'AAAA' })],
    [
      'a key on another curve',
      () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'jwk' }),
    ],
    [
      'an RSA key',
      () => generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' }),
    ],
    ['an Ed25519 key', () => generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })],
    ['a key for another algorithm', () => ({ ...makeKey().jwk, alg: 'HS256' })],
    ['a key for encryption', () => ({ ...makeKey().jwk, use: 'enc' })],
    ['a point off the curve', () => ({ ...makeKey().jwk, y: makeKey().jwk.x })],
    ['a point at nothing', () => ({ kty: 'EC', crv: 'P-256', x: 'A'.repeat(43), y: 'A'.repeat(43) })],
    ['coordinates that are no text', () => ({ kty: 'EC', crv: 'P-256', x: 1, y: [2] })],
    ['no key', () => null],
    ['a list', () => [makeKey().jwk]],
  ])('%s as cnf_jwk', async (_, jwk) => {
    const fields = { cnf_jwk: JSON.stringify(jwk()) }
    await expect(exchangeOwn(gateway, { parent: job, fields })).rejects.toMatchObject({
      code: 'invalid_request',
    })
    expect(await identities()).toBe(1)
    const { d } = Object(jwk())
    if (d !== undefined) expect(JSON.stringify(gateway.events)).not.toContain(d)
  })

  test('its own key written differently, which would look like another', async () => {
    const { x = '', ...rest } = job.key.jwk
    for (const written of [`${x}=`, x.replaceAll('-', '+').replaceAll('_', '/')]) {
      const fields = { cnf_jwk: JSON.stringify({ ...rest, x: written }) }
      const answer = await exchangeOwn(gateway, { parent: job, fields }).catch(() => null)
      expect(answer?.identity ?? job.answer.identity).toBe(job.answer.identity)
    }
    expect(await identities()).toBe(1)
  })
})

describe('a child that only looks on', () => {
  const looking = { audit_only: 'true' }

  test('is a child, and nothing that a root or a renewal makes', async () => {
    await expect(startJob(gateway, { fields: looking })).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(exchangeOwn(gateway, { parent: job, fields: looking })).rejects.toMatchObject({
      code: 'invalid_request',
    })
  })

  test('hands on nothing that the one above it could not', async () => {
    const child = await startChild(gateway, job, 'stage:migrate connection:orders-db:read', looking)
    for (const scope of [
      'stage:migrate connection:other-db',
      'connection:users-db',
      'connection:orders-db',
    ]) {
      await expect(startChild(gateway, child, scope)).rejects.toMatchObject({ code: 'invalid_scope' })
    }
    for (const stage of ['test', 'reviewed']) {
      await expect(startChild(gateway, child, `stage:${stage}`)).rejects.toMatchObject({ code: 'denied' })
    }
    const below = await startChild(gateway, child, 'stage:deploy connection:orders-db:insert')
    await expect(startChild(gateway, below, 'connection:orders-db:read')).rejects.toMatchObject({
      code: 'invalid_scope',
    })
  })

  test('needs its key wherever the one above it does', async () => {
    const bare = await startChild(gateway, job, 'stage:bare')
    expect(bare.answer.token_type).toBe('Bearer')
    const child = await startChild(gateway, job, 'stage:bare', looking)
    expect(child.answer.token_type).toBe('DPoP')
    const proof = { kind: 'token' as const, token: child.answer.access_token }
    await expect(gateway.identities.identify(proof)).rejects.toMatchObject({ code: 'unauthenticated' })
  })

  test('stays so, also after a restart and in the gateway’s own word', async () => {
    const child = await startChild(gateway, job, undefined, looking)
    await gateway.restart()
    const found = await gateway.identities.find(child.answer.identity)
    expect(found?.auditOnly).toBe(true)
    if (found === null) return
    const [, said = ''] = (await gateway.identities.statement(found)).split('.')
    expect(JSON.parse(Buffer.from(said, 'base64url').toString())).toMatchObject({ audit_only: true })
  })
})

test('a token that is too long is refused before it is verified', async () => {
  const token = `${job.answer.access_token}${'A'.repeat(17_000)}`
  const parent = { ...job, answer: { ...job.answer, access_token: token } }
  await expect(startChild(gateway, parent)).rejects.toMatchObject({ code: 'unauthenticated' })
  expect(await identities()).toBe(1)
})

test('a child lives no longer than its parent, whatever it asks', async () => {
  gateway.ahead += 600_000
  const child = await startChild(gateway, job, 'stage:migrate', { requested_ttl: '3600' })
  expect(child.answer.expires_in).toBeLessThanOrEqual(300)
})

test('a grandchild is held to what its parent was narrowed to, not its grandparent', async () => {
  const child = await startChild(gateway, job, 'connection:orders-db:insert')
  await expect(startChild(gateway, child, 'connection:orders-db:read')).rejects.toMatchObject({
    code: 'invalid_scope',
  })
  await expect(startChild(gateway, child, 'stage:migrate connection:orders-db:read')).rejects.toMatchObject({
    code: 'invalid_scope',
  })
  const grandchild = await startChild(gateway, child, 'stage:migrate')
  expect(grandchild.answer.scope).toBe('stage:migrate connection:orders-db:insert')
  await expect(startChild(gateway, grandchild, 'stage:deploy')).rejects.toMatchObject({ code: 'denied' })
})

test('the chain ends at five levels', async () => {
  let last = job
  for (let level = 2; level <= 5; level++) last = await startChild(gateway, last)
  await expect(startChild(gateway, last)).rejects.toMatchObject({ code: 'denied' })
  expect(await identities()).toBe(5)
})

test('a job has at most a thousand identities that live, however they are nested', async () => {
  const child = await startChild(gateway, job)
  const row = await gateway.store.db
    .selectFrom('identities')
    .selectAll()
    .where('id', '=', child.answer.identity)
    .executeTakeFirstOrThrow()
  const copies = Array.from({ length: 997 }, (_, index) => ({ ...row, id: `idn_${index}` }))
  for (let from = 0; from < copies.length; from += 100) {
    await gateway.store.db
      .insertInto('identities')
      .values(copies.slice(from, from + 100))
      .execute()
  }
  const last = await startChild(gateway, child)
  for (const parent of [job, child, last]) {
    await expect(startChild(gateway, parent)).rejects.toMatchObject({ code: 'overloaded' })
  }
  await gateway.identities.revoke(last.answer.access_token)
  await startChild(gateway, job)
})
