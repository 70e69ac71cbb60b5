import { CompactSign, exportJWK, generateKeyPair } from 'jose'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { RecordEvent } from '../../gateway/recording/event.ts'
import { verify } from '../../gateway/recording/verify.ts'
import { end, makeFolder, open, publicJwk, startOf } from './folder.ts'

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
  connections: [['orders-db', null]],
}
const child = {
  id: 'idn_b',
  parent: 'idn_a',
  stage: 'migrate',
  thumbprint: 'tb',
  connections: [['orders-db', ['read']]],
}

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

test.each<[string, RegExp, () => Promise<Level[]>]>([
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
