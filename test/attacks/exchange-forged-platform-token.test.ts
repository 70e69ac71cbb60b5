import { createHmac, generateKeyPairSync } from 'node:crypto'
import { type CryptoKey, SignJWT, UnsecuredJWT, decodeJwt } from 'jose'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type GithubOidc, startGithubOidc } from '../fakes/github-oidc.ts'
import { type TestGateway, exchangeToken, gatewayUrl, makeKey, startGateway } from '../identity/gateway.ts'

// A token that the configured issuer did not make for this gateway, now, is worth nothing.

let gateway: TestGateway
let stranger: GithubOidc
beforeEach(async () => {
  gateway = await startGateway()
  stranger = await startGithubOidc()
})
afterEach(async () => {
  // Whatever was tried, nobody became anything.
  expect(await gateway.store.db.selectFrom('identities').selectAll().execute()).toEqual([])
  await gateway.close()
  await stranger.close()
})

const refusal = async (token: string): Promise<{ code: string; why: string }> => {
  const refused = await exchangeToken(gateway, { token, key: makeKey() }).then(
    () => null,
    (error: { code: string; why: string }) => error,
  )
  if (refused === null) throw new Error('it was accepted')
  expect(JSON.stringify([refused.why, gateway.events])).not.toContain(token.slice(-40))
  return refused
}

const publishedKey = async (): Promise<{ kid: string; n: string; e: string }> => {
  const response = await fetch(`${gateway.github.url}/.well-known/jwks`)
  const { keys } = (await response.json()) as { keys: { kid: string; n: string; e: string }[] }
  const [key] = keys
  if (key === undefined) throw new Error('no key is published')
  return key
}

describe('an ID token is refused', () => {
  test('without a signature (alg none)', async () => {
    const claims = decodeJwt(await gateway.issue())
    const token = new UnsecuredJWT(claims).encode()
    for (const bent of [token, `${token}AAAA`]) expect((await refusal(bent)).code).toBe('invalid_token')
  })

  test('signed by HMAC with the public key as secret', async () => {
    const key = await publishedKey()
    const claims = decodeJwt(await gateway.issue())
    for (const secret of [JSON.stringify(key), key.n, Buffer.from(key.n, 'base64url')]) {
      const input = [{ alg: 'HS256', typ: 'JWT', kid: key.kid }, claims]
        .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
        .join('.')
      const token = `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
      expect(await refusal(token)).toMatchObject({
        code: 'invalid_token',
        why: expect.stringContaining('HS256'),
      })
    }
  })

  test.each(['RS384', 'PS256', 'RS512'])('signed by the right key with %s', async (alg) => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const name = alg.startsWith('PS') ? 'RSA-PSS' : 'RSASSA-PKCS1-v1_5'
    const key = privateKey.toCryptoKey({ name, hash: `SHA-${alg.slice(2)}` }, false, ['sign'])
    const token = await gateway.github.issue({}, { aud: gatewayUrl, alg, key })
    expect(await refusal(token)).toMatchObject({ code: 'invalid_token', why: expect.stringContaining(alg) })
  })

  test('signed by a stranger who claims the kid of the issuer', async () => {
    const { kid } = await publishedKey()
    const key = strangersKey()
    expect(await refusal(await gateway.github.issue({}, { aud: gatewayUrl, key, kid }))).toMatchObject({
      code: 'invalid_token',
      why: expect.stringContaining('signature'),
    })
  })

  test('that brings its own key or says where to fetch it', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const key = rs256(privateKey)
    const jwk = publicKey.export({ format: 'jwk' })
    for (const header of [
      { jwk },
      { jku: `${stranger.url}/.well-known/jwks` },
      { x5u: `${stranger.url}/cert` },
    ]) {
      const token = await gateway.github.issue({}, { aud: gatewayUrl, key, kid: 'own', header })
      expect((await refusal(token)).code).toMatch(/invalid_token|issuer_unavailable/)
    }
    expect(stranger.requests).toEqual([])
  })

  test.each(["../../keys' or 1=1", '__proto__', '', 'x'.repeat(5000)])('with the kid %j', async (kid) => {
    const token = await gateway.github.issue({}, { aud: gatewayUrl, key: strangersKey(), kid })
    expect((await refusal(token)).code).toBe('invalid_token')
  })

  test('of an issuer that is not configured, or one whose name only looks like it', async () => {
    expect(await refusal(await stranger.issue({}, { aud: gatewayUrl }))).toMatchObject({
      code: 'invalid_token',
    })
    for (const iss of [
      `${gateway.github.url}/`,
      `${gateway.github.url}/acme`,
      [gateway.github.url],
      undefined,
    ]) {
      expect((await refusal(await gateway.issue({ iss }))).code).toBe('invalid_token')
    }
    expect(stranger.requests).toEqual([])
  })

  test('for another audience, for several, or for none', async () => {
    for (const aud of [
      'https://other.example',
      `${gatewayUrl}/`,
      [gatewayUrl, 'https://other.example'],
      [gatewayUrl, gatewayUrl],
      [],
    ]) {
      expect((await refusal(await gateway.github.issue({}, { aud }))).code).toBe('invalid_token')
    }
    const none = await gateway.github.issue({ aud: undefined })
    expect((await refusal(none)).code).toBe('invalid_token')
  })

  test('before its time, after it, and when it is too old', async () => {
    const now = Math.floor(Date.now() / 1000)
    const cases: [Record<string, unknown>, RegExp][] = [
      [{ nbf: now + 120 }, /by its nbf it begins at .+, and here it is /],
      [{ exp: now - 61 }, /expired/],
      [{ iat: now + 120 }, /iat|too long ago/],
      [{ iat: now - 1200, exp: now + 600 }, /too long ago/],
      [{ exp: undefined }, /exp/],
      [{ iat: undefined }, /iat/],
      [{ exp: 'never' }, /exp/],
    ]
    for (const [claims, why] of cases) {
      const refused = await refusal(await gateway.issue(claims))
      expect(refused).toMatchObject({ code: 'invalid_token', why: expect.stringMatching(why) })
    }
  })

  test('when it is too long, and before anything is fetched for it', async () => {
    const token = await gateway.issue({ padding: 'x'.repeat(20_000) })
    expect((await refusal(token)).code).toBe('invalid_token')
    expect(gateway.github.requests).toEqual([])
  })

  test('when it is another kind of token of the same issuer', async () => {
    const token = await gateway.github.issue({}, { aud: gatewayUrl, header: { typ: 'at+jwt' } })
    expect(await refusal(token)).toMatchObject({
      code: 'invalid_token',
      why: expect.stringContaining('type'),
    })
  })

  test('when it is garbage', async () => {
    for (const token of ['x', 'a.b.c', '..', '{}', 'eyJ'.repeat(100)]) {
      expect((await refusal(token)).code).toBe('invalid_token')
    }
  })

  test('when it says that it is of the gateway, which signed nothing like it', async () => {
    const key = strangersKey()
    const token = await new SignJWT({
      ...decodeJwt(await gateway.github.issue()),
      iss: gatewayUrl,
      aud: gatewayUrl,
    })
      .setProtectedHeader({ alg: 'RS256', typ: 'at+jwt' })
      .sign(key)
    expect((await refusal(token)).code).toBe('invalid_request')
  })
})

test('a token changed in one claim is refused', async () => {
  const token = await gateway.issue({ repository_id: '666' })
  const [header, , signature] = token.split('.')
  const payload = Buffer.from(JSON.stringify({ ...decodeJwt(token), repository_id: '1296269' })).toString(
    'base64url',
  )
  expect(await refusal(`${header}.${payload}.${signature}`)).toMatchObject({
    code: 'invalid_token',
    why: expect.stringContaining('signature'),
  })
})

function rs256(privateKey: ReturnType<typeof generateKeyPairSync>['privateKey']): CryptoKey {
  return privateKey.toCryptoKey({ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }, false, ['sign'])
}

function strangersKey(): CryptoKey {
  return rs256(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey)
}
