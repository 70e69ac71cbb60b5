import { createPrivateKey, createPublicKey } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeAuthority, signCertificate } from '../../gateway/identity/certificates.ts'
import { openKeys } from '../../gateway/identity/keys.ts'
import {
  type Job,
  type TestGateway,
  derOf,
  exchangeOwn,
  makeKey,
  startGateway,
  startJob,
} from '../identity/gateway.ts'

// A certificate is worth what the gateway's client authority signed, for the key that the identity has, now.

let gateway: TestGateway
let victim: Job
let thief: Job
let folder = ''
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hoop-forged-'))
  gateway = await startGateway()
  victim = await startJob(gateway)
  thief = await startJob(gateway)
})
afterEach(async () => {
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
})

const identify = (pem: string): ReturnType<TestGateway['identities']['identify']> =>
  gateway.identities.identify({ kind: 'certificate', der: derOf(pem) })
const notAfter = (): number => Date.now() + 600_000

describe('a certificate is refused', () => {
  test('that names another identity, though the gateway’s own authority signed it', async () => {
    const named = { identityId: victim.answer.identity, stage: 'deploy', notAfter: notAfter() }
    const pem = await gateway.keys.clientCertificate({ ...named, publicJwk: thief.key.jwk })
    await expect(identify(pem)).rejects.toMatchObject({ code: 'unauthenticated' })
    const good = await gateway.keys.clientCertificate({ ...named, publicJwk: victim.key.jwk })
    expect((await identify(good)).id).toBe(victim.answer.identity)
  })

  test('that names another stage', async () => {
    const pem = await gateway.keys.clientCertificate({
      identityId: thief.answer.identity,
      stage: 'migrate',
      publicJwk: thief.key.jwk,
      notAfter: notAfter(),
    })
    await expect(identify(pem)).rejects.toMatchObject({ code: 'unauthenticated' })
  })

  test('of another gateway with the same trust domain', async () => {
    const others = await openKeys(join(folder, 'data'), { trustDomain: 'acme.example' })
    const pem = await others.clientCertificate({
      identityId: victim.answer.identity,
      stage: 'deploy',
      publicJwk: victim.key.jwk,
      notAfter: notAfter(),
    })
    await expect(identify(pem)).rejects.toMatchObject({ code: 'unauthenticated' })
  })

  test('of the gateway’s server authority, and of an authority of the same name', async () => {
    const key = createPrivateKey(thief.key.pem)
    const pem = await makeAuthority({
      key,
      name: 'Hoop Access client CA for acme.example',
      use: 'client',
      trustDomain: 'acme.example',
      now: Date.now(),
    })
    const forged = await signCertificate({
      authority: { pem, key },
      use: 'client',
      subject: victim.answer.identity,
      names: [`spiffe://acme.example/stage/deploy/${victim.answer.identity}`],
      publicKey: createPublicKey({ key: victim.key.jwk, format: 'jwk' }),
      notBefore: Date.now(),
      notAfter: notAfter(),
    })
    await expect(identify(forged)).rejects.toMatchObject({ code: 'unauthenticated' })
    const server = await gateway.keys.serverCertificate(['localhost'])
    await expect(identify(server.cert)).rejects.toMatchObject({ code: 'unauthenticated' })
    await expect(identify(gateway.keys.clientCaPem)).rejects.toMatchObject({ code: 'unauthenticated' })
  })

  test('of an identity that never was, after its time, or that is no certificate', async () => {
    const pem = await gateway.keys.clientCertificate({
      identityId: `idn_${'a'.repeat(26)}`,
      stage: 'deploy',
      publicJwk: makeKey().jwk,
      notAfter: notAfter(),
    })
    await expect(identify(pem)).rejects.toMatchObject({ code: 'unauthenticated' })
    for (const der of [Buffer.alloc(0), Buffer.from('garbage'), derOf(pem).subarray(0, 100)]) {
      await expect(gateway.identities.identify({ kind: 'certificate', der })).rejects.toMatchObject({
        code: 'unauthenticated',
      })
    }
    gateway.ahead += 901_000
    await expect(identify(victim.answer.client_certificate)).rejects.toMatchObject({
      code: 'identity_expired',
    })
  })

  test('after its time, though its identity was renewed: the new one is wanted', async () => {
    gateway.ahead += 600_000
    const renewed = await exchangeOwn(gateway, { parent: victim })
    gateway.ahead += 400_000
    await expect(identify(victim.answer.client_certificate)).rejects.toMatchObject({
      code: 'unauthenticated',
    })
    expect((await identify(renewed.client_certificate)).id).toBe(victim.answer.identity)
  })
})

test('a token alone opens nothing where the stage binds identities to their keys', async () => {
  const proof = { kind: 'token', token: victim.answer.access_token } as const
  await expect(gateway.identities.identify(proof)).rejects.toMatchObject({ code: 'unauthenticated' })
})

test('a token with the certificate of another identity is refused', async () => {
  const request = { dpop: null, method: 'GET', url: 'https://hoop.acme.example:8443/api/v1/identity' }
  const authorization = `Bearer ${victim.answer.access_token}`
  const ask = (job: Job): ReturnType<TestGateway['identities']['identifyRequest']> =>
    gateway.identities.identifyRequest({
      ...request,
      authorization,
      clientCertificateDer: derOf(job.answer.client_certificate),
    })
  await expect(ask(thief)).rejects.toMatchObject({ code: 'unauthenticated' })
  expect((await ask(victim)).id).toBe(victim.answer.identity)
})
