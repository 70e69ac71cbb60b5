import { X509Certificate } from 'node:crypto'
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { GatewayError } from '../../gateway/core/errors.ts'
import { chainOf } from '../../gateway/core/identity.ts'
import {
  type Job,
  type TestGateway,
  configOf,
  derOf,
  exchangeOwn,
  exchangeToken,
  gatewayUrl,
  makeKey,
  startChild,
  startGateway,
  startJob,
} from './gateway.ts'

let gateway: TestGateway
beforeEach(async () => {
  gateway = await startGateway()
})
afterEach(() => gateway.close())

const identify = (answer: {
  client_certificate: string
}): ReturnType<TestGateway['identities']['identify']> =>
  gateway.identities.identify({ kind: 'certificate', der: derOf(answer.client_certificate) })

describe('a job', () => {
  test('has no identity that the ledger does not name, also where that could not be written at first', async () => {
    const asked = { token: await gateway.issue(), key: makeKey() }
    const full = new GatewayError('recording_failed', 'the disk is full')
    vi.spyOn(gateway.events, 'push').mockImplementationOnce(() => {
      throw full
    })
    await expect(exchangeToken(gateway, asked)).rejects.toBe(full)
    const { identity } = await exchangeToken(gateway, asked)
    expect(gateway.events).toMatchObject([{ kind: 'identity', identity, stage: 'test', parent: null }])
    const parent = await startJob(gateway)
    const child = (): Promise<Job> => startChild(gateway, parent)
    vi.mocked(gateway.events.push).mockImplementationOnce(() => {
      throw full
    })
    await expect(child()).rejects.toBe(full)
    const made = await child()
    const rows = await gateway.store.db.selectFrom('identities').select('id').execute()
    expect(rows.map(({ id }) => id).toSorted()).toEqual(
      [identity, parent.answer.identity, made.answer.identity].toSorted(),
    )
  })

  test('becomes a stage, with a token, a certificate and the scope that it got', async () => {
    const key = makeKey()
    const answer = await exchangeToken(gateway, {
      token: await gateway.issue(),
      key,
      scope: 'stage:test connection:orders-db:read',
    })
    expect(answer).toMatchObject({
      token_type: 'DPoP',
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      scope: 'stage:test connection:orders-db:read',
      identity: expect.stringMatching(/^idn_[a-z2-7]{26}$/),
    })
    expect(answer.expires_in).toBeGreaterThan(890)
    expect(answer.expires_in).toBeLessThanOrEqual(900)
    const { payload } = await jwtVerify(
      answer.access_token,
      createLocalJWKSet({ keys: [...gateway.keys.jwks.keys] }),
      { issuer: gatewayUrl, audience: gatewayUrl, typ: 'at+jwt' },
    )
    expect(payload).toMatchObject({
      identity: answer.identity,
      stage: 'test',
      sub: `spiffe://acme.example/stage/test/${answer.identity}`,
      jti: expect.any(String),
    })
    expect(payload['act']).toBeUndefined()
    // By itself: the gateway, the only one that it is shown to, has its authority's.
    expect(answer.client_certificate.match(/BEGIN CERTIFICATE/g)).toHaveLength(1)
    const certificate = new X509Certificate(answer.client_certificate)
    expect(certificate.subjectAltName).toBe(`URI:spiffe://acme.example/stage/test/${answer.identity}`)
    expect(certificate.publicKey.export({ format: 'jwk' })).toMatchObject(key.jwk)
    const identity = await identify(answer)
    expect(identity).toMatchObject({ id: answer.identity, stage: 'test', binding: 'required', parent: null })
    expect([...identity.connections]).toEqual([['orders-db', ['read']]])
    expect(identity.origin.claims).toMatchObject({ repository: 'acme/shop', ref: 'refs/heads/main' })
    expect(gateway.events).toMatchObject([{ kind: 'identity', identity: answer.identity, stage: 'test' }])
  })

  test('gets all that the stage grants when it names no connection', async () => {
    const { answer } = await startJob(gateway, { scope: 'stage:test' })
    expect(answer.scope).toBe('stage:test connection:orders-db connection:users-db')
  })

  test('gets the same identity for the same token and key, also after a restart', async () => {
    const token = await gateway.issue()
    const key = makeKey()
    const first = await exchangeToken(gateway, { token, key })
    await gateway.restart()
    expect((await exchangeToken(gateway, { token, key })).identity).toBe(first.identity)
    expect(await gateway.store.db.selectFrom('identities').select('id').execute()).toHaveLength(1)
  })

  test('has one root: another token of it with the same key gives the same identity', async () => {
    const key = makeKey()
    const first = await exchangeToken(gateway, { token: await gateway.issue(), key })
    const second = await exchangeToken(gateway, { token: await gateway.issue(), key })
    expect(second.identity).toBe(first.identity)
  })

  test('of another attempt or another job of the run has a root of its own', async () => {
    const ids = new Set<string>()
    for (const claims of [{}, { run_attempt: '2' }, { check_run_id: '7' }, { run_id: '8' }]) {
      ids.add((await exchangeToken(gateway, { token: await gateway.issue(claims), key: makeKey() })).identity)
    }
    expect(ids.size).toBe(4)
  })

  test('cannot get another stage or other connections by asking again', async () => {
    const key = makeKey()
    await exchangeToken(gateway, {
      token: await gateway.issue(),
      key,
      scope: 'stage:test connection:orders-db:read',
    })
    for (const scope of ['stage:bare', 'stage:test connection:orders-db', 'stage:test connection:users-db']) {
      await expect(
        exchangeToken(gateway, { token: await gateway.issue(), key, scope }),
      ).rejects.toMatchObject({
        code: 'invalid_scope',
      })
    }
    const again = await exchangeToken(gateway, { token: await gateway.issue(), key, scope: 'stage:test' })
    expect(again.scope).toBe('stage:test connection:orders-db:read')
  })

  test('lives no longer than its stage, whatever it asks, and shorter if it asks', async () => {
    const long = await startJob(gateway, { scope: 'stage:test', fields: { requested_ttl: '86400' } })
    expect(long.answer.expires_in).toBeLessThanOrEqual(900)
    const short = await startJob(gateway, { scope: 'stage:test', fields: { ttl: '2m' } })
    expect(short.answer.expires_in).toBeLessThanOrEqual(120)
    await expect(startJob(gateway, { fields: { ttl: '-1' } })).rejects.toMatchObject({
      code: 'invalid_request',
    })
  })

  test.each([
    ['a stage that does not exist', 'stage:nope', 'invalid_scope'],
    ['a stage of the prototype', 'stage:constructor', 'invalid_scope'],
    ['a connection that the stage does not grant', 'stage:test connection:other-db', 'invalid_scope'],
    ['an unknown entry', 'stage:test admin', 'invalid_scope'],
    ['two stages', 'stage:test stage:deploy', 'invalid_scope'],
    ['a connection twice', 'stage:test connection:orders-db connection:orders-db:read', 'invalid_scope'],
    ['no stage', 'connection:orders-db', 'invalid_request'],
    ['a stage without subjects', 'stage:migrate', 'subject_mismatch'],
    ['a stage that wants review', 'stage:reviewed', 'subject_mismatch'],
  ])('is refused %s', async (_, scope, code) => {
    await expect(startJob(gateway, { scope })).rejects.toMatchObject({ code })
    expect(await gateway.store.db.selectFrom('identities').selectAll().execute()).toEqual([])
    expect(gateway.events).toMatchObject([{ kind: 'refused', code }])
  })

  test('is told which claim of which subject did not match, and never the token', async () => {
    const token = await gateway.issue({ environment: 'staging' })
    const refused = exchangeToken(gateway, { token, key: makeKey(), scope: 'stage:deploy' })
    await expect(refused).rejects.toMatchObject({
      code: 'subject_mismatch',
      why: expect.stringContaining('subject 0: claim environment must be "production", and is "staging"'),
    })
    const missing = exchangeToken(gateway, {
      token: await gateway.issue(),
      key: makeKey(),
      scope: 'stage:deploy',
    })
    await expect(missing).rejects.toMatchObject({ why: expect.stringContaining('and the token has none') })
    expect(JSON.stringify(gateway.events)).not.toContain(token.slice(0, 40))
  })
})

describe('a renewal', () => {
  test('moves the end up to max_ttl and not beyond, with a certificate to match', async () => {
    const job = await startJob(gateway)
    const identity = await identify(job.answer)
    const made = identity.expiresAt - 900_000
    let latest = job
    for (let minutes = 0; minutes < 110; minutes += 10) {
      gateway.ahead += 600_000
      latest = { key: job.key, answer: await exchangeOwn(gateway, { parent: latest }) }
      expect(latest.answer.identity).toBe(job.answer.identity)
    }
    expect(identity.expiresAt).toBe(made + 7_200_000)
    expect(new X509Certificate(derOf(latest.answer.client_certificate)).validToDate.getTime()).toBe(
      Math.floor(identity.expiresAt / 1000) * 1000,
    )
    gateway.ahead += 600_000
    await expect(exchangeOwn(gateway, { parent: latest })).rejects.toMatchObject({ code: 'identity_expired' })
  })

  test('keeps the scope: another is refused', async () => {
    const job = await startJob(gateway, { scope: 'stage:deploy connection:orders-db:read' })
    for (const scope of [
      'stage:migrate',
      'connection:orders-db',
      'connection:orders-db:read connection:users-db',
    ]) {
      await expect(exchangeOwn(gateway, { parent: job, scope })).rejects.toMatchObject({
        code: 'invalid_scope',
      })
    }
    const renewed = await exchangeOwn(gateway, {
      parent: job,
      scope: 'stage:deploy connection:orders-db:read',
    })
    expect(renewed.identity).toBe(job.answer.identity)
  })

  test('can be proved by the client certificate instead', async () => {
    const job = await startJob(gateway)
    const clientCertificateDer = derOf(job.answer.client_certificate)
    const renewed = await exchangeOwn(gateway, { parent: job, request: { dpop: null, clientCertificateDer } })
    expect(renewed.identity).toBe(job.answer.identity)
  })
})

describe('a child', () => {
  test('has a part of its parent’s rights, a key of its own, and the chain in its token', async () => {
    const job = await startJob(gateway)
    const child = await startChild(gateway, job, 'stage:migrate connection:orders-db:read', {
      requested_ttl: '60',
    })
    expect(child.answer.scope).toBe('stage:migrate connection:orders-db:read')
    expect(child.answer.expires_in).toBeLessThanOrEqual(60)
    expect(decodeJwt(child.answer.access_token)['act']).toEqual({
      sub: `spiffe://acme.example/stage/deploy/${job.answer.identity}`,
    })
    const identity = await identify(child.answer)
    expect(chainOf(identity).map((node) => node.id)).toEqual([job.answer.identity, child.answer.identity])
    expect(identity.parent).toBe(await identify(job.answer))
  })

  test('without a scope is of its parent’s stage and inherits its narrowing', async () => {
    const job = await startJob(gateway, { scope: 'stage:deploy connection:orders-db:read' })
    const child = await startChild(gateway, job)
    expect(child.answer.scope).toBe('stage:deploy connection:orders-db:read')
    const narrower = await startChild(gateway, job, 'connection:orders-db:select')
    expect(narrower.answer.scope).toBe('stage:deploy connection:orders-db:select')
  })

  test('of another stage gets only what both have', async () => {
    const child = await startChild(gateway, await startJob(gateway), 'stage:migrate')
    expect(child.answer.scope).toBe('stage:migrate connection:orders-db')
  })

  test('never outlives its parent, also by renewal', async () => {
    const job = await startJob(gateway, { fields: { ttl: '5m' } })
    const child = await startChild(gateway, job, 'stage:migrate', { ttl: '1h' })
    expect(child.answer.expires_in).toBeLessThanOrEqual(300)
    gateway.ahead += 200_000
    expect((await exchangeOwn(gateway, { parent: child })).expires_in).toBeLessThanOrEqual(100)
  })

  test('is signed for: the statement of each level can be checked offline', async () => {
    const job = await startJob(gateway)
    const child = await startChild(gateway, job, 'stage:migrate')
    await gateway.restart()
    const identity = await identify(child.answer)
    const keys = createLocalJWKSet({ keys: [...gateway.keys.jwks.keys] })
    const [root, leaf] = await Promise.all(
      chainOf(identity).map(async (node) => {
        const statement = await gateway.identities.statement(node)
        expect(decodeProtectedHeader(statement).typ).toBe('hoop-statement+jwt')
        return (await jwtVerify(statement, keys)).payload
      }),
    )
    expect(root).toMatchObject({ id: job.answer.identity, parent: null, stage: 'deploy' })
    expect(leaf).toMatchObject({
      id: child.answer.identity,
      parent: job.answer.identity,
      stage: 'migrate',
      thumbprint: identity.thumbprint,
      connections: [['orders-db', null]],
    })
  })
})

describe('a change of policy', () => {
  test('that makes a stage stricter holds for tokens that are out already', async () => {
    const { answer } = await startJob(gateway, { scope: 'stage:bare' })
    expect(answer.token_type).toBe('Bearer')
    const proof = { kind: 'token', token: answer.access_token } as const
    expect((await gateway.identities.identify(proof)).id).toBe(answer.identity)
    gateway.config = configOf(gateway.github.url, (raw) => {
      Object.assign(Reflect.get(Object(raw['stages']), 'bare'), { binding: 'required' })
    })
    await expect(gateway.identities.identify(proof)).rejects.toMatchObject({ code: 'unauthenticated' })
  })

  test('that takes a delegation back ends renewal of the child', async () => {
    const child = await startChild(gateway, await startJob(gateway), 'stage:migrate')
    gateway.config = configOf(gateway.github.url, (raw) => {
      Object.assign(Reflect.get(Object(raw['stages']), 'deploy'), { delegates: [] })
    })
    await expect(exchangeOwn(gateway, { parent: child })).rejects.toMatchObject({ code: 'denied' })
  })
})
