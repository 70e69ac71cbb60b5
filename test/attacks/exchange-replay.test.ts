import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readClientKey } from '../../gateway/identity/client-key.ts'
import {
  type TestGateway,
  derOf,
  exchangeOwn,
  exchangeToken,
  gatewayUrl,
  makeKey,
  proofTime,
  startGateway,
  startJob,
  tokenUrl,
} from '../identity/gateway.ts'

// What was seen once, in a log or on a wire, cannot be used again by someone else.

let gateway: TestGateway
beforeEach(async () => {
  gateway = await startGateway()
})
afterEach(() => gateway.close())

describe('a platform token', () => {
  test('is good for one key: with another it is refused and reported, also after a restart', async () => {
    const token = await gateway.issue()
    const { identity } = await exchangeToken(gateway, { token, key: makeKey() })
    await gateway.restart()
    await expect(exchangeToken(gateway, { token, key: makeKey() })).rejects.toMatchObject({
      code: 'token_reused',
    })
    expect(gateway.events.at(-1)).toMatchObject({ kind: 'refused', code: 'token_reused', identity })
  })

  test('does not become another one by writing it differently', async () => {
    const withoutJti = await gateway.issue({ jti: undefined, check_run_id: '5' })
    await exchangeToken(gateway, { token: withoutJti, key: makeKey() })
    for (const token of [`${withoutJti}=`, `${withoutJti}==`]) {
      await expect(exchangeToken(gateway, { token, key: makeKey() })).rejects.toMatchObject({
        code: expect.stringMatching(/token_reused|invalid_token/),
      })
    }
  })

  test('of a job that has a root gives no second one to another key', async () => {
    await exchangeToken(gateway, { token: await gateway.issue(), key: makeKey() })
    await expect(
      exchangeToken(gateway, { token: await gateway.issue(), key: makeKey() }),
    ).rejects.toMatchObject({
      code: 'token_reused',
    })
  })

  test('does not bring a revoked identity back', async () => {
    const [token, key] = [await gateway.issue(), makeKey()]
    const answer = await exchangeToken(gateway, { token, key })
    await gateway.identities.revoke(answer.access_token)
    for (const again of [token, await gateway.issue()]) {
      await expect(exchangeToken(gateway, { token: again, key })).rejects.toMatchObject({
        code: 'identity_ended',
      })
    }
  })

  test('exchanged twenty times at once makes one root', async () => {
    const [token, key] = [await gateway.issue(), makeKey()]
    const same = await Promise.all(Array.from({ length: 20 }, () => exchangeToken(gateway, { token, key })))
    expect(new Set(same.map((answer) => answer.identity)).size).toBe(1)
  })

  test('exchanged at once by twenty keys makes one root, for one of them', async () => {
    const tokens = await Promise.all(
      Array.from({ length: 20 }, (_, index) => gateway.issue(index % 2 ? {} : { jti: 'one' })),
    )
    const outcomes = await Promise.allSettled(
      tokens.map((token) => exchangeToken(gateway, { token, key: makeKey() })),
    )
    expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1)
    expect(await gateway.store.db.selectFrom('identities').selectAll().execute()).toHaveLength(1)
  })

  test('is not exchanged without proof of a key', async () => {
    const key = makeKey()
    const fields = { cnf_jwk: JSON.stringify(key.jwk) }
    const refused = exchangeToken(gateway, {
      token: await gateway.issue(),
      key,
      fields,
      request: { dpop: null },
    })
    await expect(refused).rejects.toMatchObject({ code: 'invalid_proof' })
    const another = exchangeToken(gateway, { token: await gateway.issue(), key: makeKey(), fields })
    await expect(another).rejects.toMatchObject({ code: 'invalid_request' })
    const others = readClientKey(makeKey().jwk)
    const byOthers = { dpop: null, handshakeKey: others }
    const handshake = exchangeToken(gateway, { token: await gateway.issue(), key, fields, request: byOthers })
    await expect(handshake).rejects.toMatchObject({ code: 'invalid_proof' })
  })

  test('is exchanged for the key that the TLS handshake proved, where cnf_jwk names it', async () => {
    const key = makeKey()
    const request = { dpop: null, handshakeKey: readClientKey(key.jwk) }
    const token = await gateway.issue()
    await expect(exchangeToken(gateway, { token, key, request })).rejects.toMatchObject({
      code: 'invalid_proof',
    })
    const fields = { cnf_jwk: JSON.stringify(key.jwk) }
    const { identity } = await exchangeToken(gateway, { token, key, fields, request })
    expect(identity).toMatch(/^idn_/)
  })

  test('gives no identity a key that another has', async () => {
    const victim = await startJob(gateway)
    const attacker = await startJob(gateway)
    await expect(exchangeOwn(gateway, { parent: attacker, child: victim.key })).rejects.toMatchObject({
      code: 'invalid_request',
    })
    const again = exchangeToken(gateway, {
      token: await gateway.issue({ check_run_id: 'other' }),
      key: victim.key,
    })
    await expect(again).rejects.toMatchObject({ code: 'invalid_request' })
  })
})

describe('a proof of a key', () => {
  test('is used once', async () => {
    const [token, key] = [await gateway.issue(), makeKey()]
    const request = { dpop: await key.prove() }
    await exchangeToken(gateway, { token, key, request })
    await expect(exchangeToken(gateway, { token, key, request })).rejects.toMatchObject({
      code: 'invalid_proof',
    })
  })

  test.each([
    ['of another method', { claims: { htm: 'GET' } }],
    ['of another URL', { claims: { htu: `${gatewayUrl}/oauth/revoke` } }],
    ['of another host', { claims: { htu: 'https://evil.example/oauth/token' } }],
    ['of no URL', { claims: { htu: undefined } }],
    ['that is old', { claims: { iat: Math.floor(Date.now() / 1000) - 70 } }],
    ['of the future', { claims: { iat: Math.floor(Date.now() / 1000) + 70 } }],
    ['without a time', { claims: { iat: undefined } }],
    ['without jti', { claims: { jti: undefined } }],
    ['with a huge jti', { claims: { jti: 'x'.repeat(300) } }],
    ['for another token', { claims: { ath: 'AAAA' } }],
    ['of another type', { header: { typ: 'JWT' } }],
    ['without a key', { header: { jwk: undefined } }],
    ['with another key in its header', { header: { jwk: makeKey().jwk } }],
    ['with its private key in its header', { header: { jwk: { ...makeKey().jwk, d: 'AAAA' } } }],
  ])('%s is refused', async (_, bent) => {
    const [token, key] = [await gateway.issue(), makeKey()]
    const request = { dpop: await key.prove(bent) }
    await expect(exchangeToken(gateway, { token, key, request })).rejects.toMatchObject({
      code: 'invalid_proof',
    })
  })

  test('may write the URL with a query, as RFC 9449 has it', async () => {
    const key = makeKey()
    const request = { dpop: await key.prove({ claims: { htu: `${tokenUrl}?x=1#y` } }) }
    await exchangeToken(gateway, { token: await gateway.issue(), key, request })
  })

  test('of another key neither renews nor delegates', async () => {
    const job = await startJob(gateway)
    const thief = makeKey()
    const parent = { answer: job.answer, key: thief }
    await expect(exchangeOwn(gateway, { parent })).rejects.toMatchObject({ code: 'invalid_proof' })
    await expect(exchangeOwn(gateway, { parent, child: thief })).rejects.toMatchObject({
      code: 'invalid_proof',
    })
    await expect(exchangeOwn(gateway, { parent: job, request: { dpop: null } })).rejects.toMatchObject({
      code: 'invalid_proof',
    })
    const others = await startJob(gateway)
    const clientCertificateDer = derOf(others.answer.client_certificate)
    await expect(
      exchangeOwn(gateway, { parent: job, request: { dpop: null, clientCertificateDer } }),
    ).rejects.toMatchObject({ code: 'invalid_proof' })
  })

  test('must name the token that it renews or delegates, and no other', async () => {
    const job = await startJob(gateway)
    for (const token of [undefined, `${job.answer.access_token}x`]) {
      for (const child of [{}, { child: makeKey() }]) {
        const dpop = await job.key.prove(token === undefined ? {} : { token })
        await expect(
          exchangeOwn(gateway, { parent: job, ...child, request: { dpop } }),
        ).rejects.toMatchObject({
          code: 'invalid_proof',
          message: expect.stringContaining('ath'),
        })
      }
    }
  })

  test('is wanted even where the stage lets a token alone be used', async () => {
    const job = await startJob(gateway, { scope: 'stage:bare' })
    await expect(exchangeOwn(gateway, { parent: job, request: { dpop: null } })).rejects.toMatchObject({
      code: 'invalid_proof',
    })
  })

  test('remembered is bounded for each key, and others are not hindered', async () => {
    const job = await startJob(gateway)
    const other = await startJob(gateway)
    const { Proofs } = await import('../../gateway/identity/dpop.ts')
    let now = Date.now()
    const proofs = new Proofs(gateway.store, () => now)
    const key = { jwk: job.key.jwk, thumbprint: 'a' }
    for (let n = 0; n < 5000; n++) await proofs.spend({ key, jti: String(n) })
    await expect(proofs.spend({ key, jti: 'more' })).rejects.toMatchObject({ code: 'overloaded' })
    await expect(proofs.spend({ key, jti: '7' })).rejects.toMatchObject({ code: 'invalid_proof' })
    await proofs.spend({ key: { jwk: other.key.jwk, thumbprint: 'b' }, jti: '7' })
    now += 121_000
    await proofs.spend({ key, jti: 'more' })
    // A gateway that starts again remembers what is in the store.
    await expect(new Proofs(gateway.store, () => now).spend({ key, jti: 'more' })).rejects.toMatchObject({
      code: 'invalid_proof',
    })
  })
})

test('a request to the API is as strict: ath is wanted, and each proof is used once', async () => {
  const job = await startJob(gateway)
  const token = job.answer.access_token
  const url = `${gatewayUrl}/api/v1/identity`
  const ask = (dpop: string | null, authorization: string | null = `DPoP ${token}`): Promise<unknown> =>
    gateway.identities.identifyRequest({
      authorization,
      dpop,
      method: 'GET',
      url,
      clientCertificateDer: null,
    })
  const claims = { htm: 'GET', htu: url, ...proofTime(gateway).claims }
  const proof = await job.key.prove({ claims, token })
  expect(await ask(proof)).toMatchObject({ id: job.answer.identity })
  await expect(ask(proof)).rejects.toMatchObject({ code: 'invalid_proof' })
  await expect(ask(await job.key.prove({ claims }))).rejects.toMatchObject({ code: 'invalid_proof' })
  await expect(ask(await job.key.prove({ claims, token: 'other' }))).rejects.toMatchObject({
    code: 'invalid_proof',
  })
  await expect(ask(await makeKey().prove({ claims, token }))).rejects.toMatchObject({
    code: 'unauthenticated',
  })
  await expect(ask(null)).rejects.toMatchObject({ code: 'unauthenticated' })
  await expect(ask(null, `Bearer ${token}`)).rejects.toMatchObject({ code: 'unauthenticated' })
  await expect(ask(null, null)).rejects.toMatchObject({ code: 'unauthenticated' })
  await expect(ask(null, 'Basic eDp5')).rejects.toMatchObject({ code: 'unauthenticated' })
})
