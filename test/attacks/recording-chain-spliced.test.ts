import { CompactSign, exportJWK, generateKeyPair } from 'jose'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { RecordEvent } from '../../gateway/recording/event.ts'
import { verify } from '../../gateway/recording/verify.ts'
import { end, makeFolder, open, publicJwk, startOf } from '../recording/folder.ts'

type Start = Extract<RecordEvent, { kind: 'start' }>
type Level = Start['chain'][number]

const token = await generateKeyPair('ES256')
const stranger = await generateKeyPair('ES256')
const tokenKeys = [{ ...(await exportJWK(token.publicKey)), kid: 't1', alg: 'ES256' }]

let dir: string
let remove: () => void
beforeEach(() => {
  ;({ dir, remove } = makeFolder())
})
afterEach(() => remove())

const root = {
  id: 'idn_a',
  parent: null,
  stage: 'deploy',
  thumbprint: 'ta',
  connections: [['orders-db', null]] as unknown[],
  iat: 1000,
}
const child = {
  id: 'idn_b',
  parent: 'idn_a',
  stage: 'migrate',
  thumbprint: 'tb',
  connections: [['orders-db', ['read']]] as unknown[],
  iat: 1001,
}
const grandchild = { ...child, id: 'idn_c', parent: 'idn_b', thumbprint: 'tc', iat: 1002 }
const stranger2 = { ...child, id: 'idn_x', parent: 'idn_w', thumbprint: 'tx' }

function state(said: object, { key = token.privateKey, typ = 'hoop-statement+jwt' } = {}): Promise<string> {
  return new CompactSign(Buffer.from(JSON.stringify(said)))
    .setProtectedHeader({ alg: 'ES256', kid: 't1', typ })
    .sign(key)
}

const level = ({ id, stage, thumbprint }: typeof root | typeof child, statement: string): Level => ({
  id,
  stage,
  thumbprint,
  statement,
})

async function check(chain: Level[]): Promise<{ ok: boolean; why: string | undefined; statements: number }> {
  const recordings = await open(dir)
  const recorder = await recordings.open({ ...startOf('ses_1'), chain })
  await recorder.close(end)
  await recordings.close('done')
  const { ok, faults, statements } = await verify(dir, { publicKey: publicJwk, tokenKeys })
  return { ok, why: faults[0]?.why, statements }
}

test('a chain of identities that the gateway stated', async () => {
  const chain = [level(root, await state(root)), level(child, await state(child))]
  expect(await check(chain)).toEqual({ ok: true, why: undefined, statements: 2 })
})

/** Levels as the gateway would record them, each with its own statement. */
const levels = (...said: (typeof root | typeof child)[]): Promise<Level[]> =>
  Promise.all(said.map(async (one) => level(one, await state(one))))

test('a chain of three levels, of which the middle one only looked on', async () => {
  const looking = { ...child, audit_only: true, connections: [['orders-db', ['select']]] }
  const chain = [
    level(root, await state(root)),
    { ...level(looking, await state(looking)), auditOnly: true as const },
    level(grandchild, await state({ ...grandchild, connections: [['orders-db', ['delete']]] })),
  ]
  expect(await check(chain)).toEqual({ ok: true, why: undefined, statements: 3 })
})

test.each<[string, RegExp, () => Promise<Level[]>]>([
  ['levels in another order', /place in the chain/, () => levels(child, root)],
  ['the lower two in another order', /place in the chain/, () => levels(root, grandchild, child)],
  ['a level left out', /place in the chain/, () => levels(root, grandchild)],
  ['a level twice', /place in the chain/, () => levels(root, root)],
  ['a level of another tree', /place in the chain/, () => levels(root, stranger2)],
  ['a tree under a level of another', /place in the chain/, () => levels(root, child, stranger2)],
  [
    'a child with a connection more',
    /gives it connection users-db/,
    () =>
      levels(root, {
        ...child,
        connections: [
          ['orders-db', null],
          ['users-db', null],
        ],
      }),
  ],
  [
    'a child with an operation more',
    /more operations on orders-db/,
    () => levels(root, child, { ...grandchild, connections: [['orders-db', ['read', 'delete']]] }),
  ],
  [
    'a child that is not narrowed under one that is',
    /more operations on orders-db/,
    () => levels(root, child, { ...grandchild, connections: [['orders-db', null]] }),
  ],
  ['a child that is older than its parent', /older/, () => levels(root, { ...child, iat: 999 })],
  [
    'a level said to look on that did not',
    /looked on/,
    async () => [
      level(root, await state(root)),
      { ...level(child, await state(child)), auditOnly: true as const },
    ],
  ],
  [
    'a level said to decide that looked on',
    /looked on/,
    async () => [level(root, await state(root)), level(child, await state({ ...child, audit_only: true }))],
  ],
  [
    'nothing but a level that looked on',
    /nothing decided/,
    async () => [{ ...level(root, await state({ ...root, audit_only: true })), auditOnly: true as const }],
  ],
  [
    'a child of a level that looked on with more than what decides',
    /more operations/,
    async () => {
      const narrow = { ...root, connections: [['orders-db', ['read']]] }
      const looking = { ...child, audit_only: true }
      return [
        level(narrow, await state(narrow)),
        { ...level(looking, await state(looking)), auditOnly: true as const },
        level(grandchild, await state({ ...grandchild, connections: [['orders-db', ['delete']]] })),
      ]
    },
  ],
  ['another key', /not signed/, async () => [level(root, await state(root, { key: stranger.privateKey }))]],
  ['an access token', /not signed/, async () => [level(root, await state(root, { typ: 'at+jwt' }))]],
  ['no statement at all', /not signed/, async () => [level(root, '')]],
  ['no identity', /names no identity/, async () => []],
  ["another identity's statement", /of another/, async () => [level(root, await state(child))]],
  ['another stage', /another stage/, async () => [level({ ...root, stage: 'admin' }, await state(root))]],
  [
    'another key of the identity',
    /another key/,
    async () => [level({ ...root, thumbprint: 'tx' }, await state(root))],
  ],
  ['a child without its parent', /place in the chain/, async () => [level(child, await state(child))]],
  [
    'another connection',
    /this connection/,
    async () => [level(root, await state({ ...root, connections: [['other', null]] }))],
  ],
])('%s is found', async (_what, why, make) => {
  const found = await check(await make())
  expect(found.ok).toBe(false)
  expect(found.why).toMatch(why)
})

test('a token key without a name serves too', async () => {
  const recordings = await open(dir)
  const recorder = await recordings.open({ ...startOf('ses_1'), chain: [level(root, await state(root))] })
  await recorder.close(end)
  await recordings.close('done')
  const nameless = tokenKeys.map(({ kid: _kid, ...key }) => key)
  const { kid: _kid, ...publicKey } = publicJwk
  expect(await verify(dir, { publicKey, tokenKeys: nameless })).toMatchObject({
    ok: true,
    statements: 1,
    keys: 'given',
  })
  const strange = await exportJWK(stranger.publicKey)
  expect(await verify(dir, { publicKey, tokenKeys: [strange] })).toMatchObject({ ok: false })
})
