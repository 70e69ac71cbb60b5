import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  type Job,
  type TestGateway,
  exchangeOwn,
  makeKey,
  proofTime,
  startChild,
  startGateway,
  startJob,
} from '../identity/gateway.ts'

// A nested agent has its own token and those of no one else, and every part of a chain that the gateway states is in it.

let gateway: TestGateway
let top: Job
let middle: Job
let agent: Job
let stranger: Job
beforeEach(async () => {
  gateway = await startGateway()
  top = await startJob(gateway)
  middle = await startChild(gateway, top, 'connection:orders-db')
  agent = await startChild(gateway, middle, 'connection:orders-db:read')
  stranger = await startChild(gateway, await startJob(gateway), 'connection:orders-db')
})
afterEach(() => gateway.close())

type Claims = Record<string, unknown> & { act?: { sub: string; act?: { sub: string } } | undefined }

const partsOf = ({ answer }: Job): string[] => answer.access_token.split('.')
const claimsOf = (job: Job): Claims =>
  JSON.parse(Buffer.from(partsOf(job)[1] ?? '', 'base64url').toString()) as Claims
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** The agent's token with other claims, under the signature that it has. */
function rewritten(change: (claims: Claims) => Claims): string {
  const [header = '', , signature = ''] = partsOf(agent)
  return [header, encode(change(claimsOf(agent))), signature].join('.')
}

const ways: readonly (readonly [name: string, token: () => string])[] = [
  [
    'without those above it',
    () =>
      rewritten((claims) => {
        delete claims.act
        return claims
      }),
  ],
  [
    'with those above it in another order',
    () =>
      rewritten((claims) => ({
        ...claims,
        act: { sub: claims.act?.act?.sub ?? '', act: { sub: claims.act?.sub ?? '' } },
      })),
  ],
  ['with one of them left out', () => rewritten((claims) => ({ ...claims, act: claims.act?.act }))],
  ['with another job’s above it', () => rewritten((claims) => ({ ...claims, act: claimsOf(stranger).act }))],
  [
    'in the name of the one above',
    () => rewritten((claims) => ({ ...claims, identity: middle.answer.identity })),
  ],
  [
    'for the stage and subject of another',
    () => rewritten((claims) => ({ ...claims, sub: claimsOf(top).sub })),
  ],
  ['for a key of its own choice', () => rewritten((claims) => ({ ...claims, cnf: claimsOf(stranger).cnf }))],
  ['for longer', () => rewritten((claims) => ({ ...claims, exp: Number(claims.exp) + 3600 }))],
  [
    'with the claims of one above and the signature that it has',
    () => [partsOf(agent)[0], partsOf(top)[1], partsOf(agent)[2]].join('.'),
  ],
  [
    'with the signature of one above',
    () => [partsOf(agent)[0], partsOf(agent)[1], partsOf(top)[2]].join('.'),
  ],
  ['without a signature', () => [encode({ alg: 'none', typ: 'at+jwt' }), partsOf(top)[1], ''].join('.')],
]

/** Uses a token, with the agent's key, in every way in which it could be worth something; gives the codes of the refusals. */
async function use(access_token: string): Promise<unknown[]> {
  const url = 'https://hoop.acme.example:8443/api/v1/identity'
  const forged = { key: agent.key, answer: { ...agent.answer, access_token } }
  const claims = { ...proofTime(gateway).claims, htm: 'GET', htu: url }
  const dpop = await agent.key.prove({ claims, token: access_token })
  const request = {
    dpop,
    method: 'GET',
    url,
    authorization: `DPoP ${access_token}`,
    clientCertificateDer: null,
  }
  const all = await Promise.allSettled([
    exchangeOwn(gateway, { parent: forged }),
    exchangeOwn(gateway, { parent: forged, child: makeKey(), scope: 'connection:orders-db' }),
    gateway.identities.identifyRequest(request),
    gateway.identities.identify({ kind: 'token', token: access_token }),
  ])
  return all.map((one) => (one.status === 'rejected' ? (one.reason as { code?: string }).code : 'taken'))
}

test.each(ways)('a token %s is none', async (_, token) => {
  const before = gateway.events.filter(({ kind }) => kind === 'identity').length
  expect(await use(token())).toEqual(Array.from({ length: 4 }, () => 'unauthenticated'))
  expect(gateway.events.filter(({ kind }) => kind === 'identity').length).toBe(before)
})

test('its own token, taken apart and put together, is one: it is the changes that are refused', async () => {
  const [renewed, widened, seen] = await use(rewritten((claims) => claims))
  expect([renewed, widened, seen]).toEqual(['taken', 'invalid_scope', 'taken'])
})
