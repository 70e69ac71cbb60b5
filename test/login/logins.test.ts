import { afterEach, beforeEach, expect, test } from 'vitest'
import { IDLE_MS, LIFE_MS, Logins, formToken, isFormToken } from '../../gateway/login/logins.ts'
import { type Config, configSchema } from '../../gateway/policy/schema.ts'
import { type Store, openStore } from '../../gateway/store/open.ts'

const issuer = 'https://idp.test'
const alice = {
  iss: issuer,
  sub: 'u-1',
  email: 'alice@acme.example',
  email_verified: true,
  address: 'private',
}
const base = {
  gateway: { url: 'https://hoop.test' },
  people: { alice: { email: 'Alice@acme.example' }, bob: { email: 'bob@acme.example', oidc: 'u-2' } },
  console: {
    login: { issuer, client_id: 'hoop' },
    roles: {
      auditor: [{ claims: { groups: 'audit' } }],
      admin: [{ claims: { email: 'root@acme.example' } }],
    },
  },
}

let store: Store
let config: Config
let now: number
let logins: Logins

beforeEach(async () => {
  store = await openStore(':memory:')
  config = configSchema.parse(base)
  now = 1_800_000_000_000
  logins = new Logins(
    store,
    () => config,
    () => now,
  )
})
afterEach(() => store.close())

test('the store holds no secret, and no more of somebody than hoop.yaml asks about', async () => {
  const { secret } = await logins.begin('browser', alice)
  const rows = JSON.stringify(await store.db.selectFrom('logins').selectAll().execute())
  expect(rows).not.toContain(secret)
  expect(rows).not.toContain('private')
  expect((await logins.find('browser', secret))?.person).toMatchObject({ name: 'alice', roles: [] })
  expect(await logins.find('terminal', secret)).toBeNull()
  expect(await logins.find('browser', `${secret.slice(1)}A`)).toBeNull()
})

test('it ends when nobody uses it, and at the end of the day however busy it is', async () => {
  const { secret } = await logins.begin('browser', alice)
  now += IDLE_MS - 1
  // What a page's script asks by itself is no use.
  expect(await logins.find('browser', secret, false)).not.toBeNull()
  now += 1
  expect(await logins.find('browser', secret)).toBeNull()
  const busy = await logins.begin('browser', alice)
  for (const end = now + LIFE_MS; now + IDLE_MS / 2 < end; now += IDLE_MS / 2)
    expect(await logins.find('browser', busy.secret)).not.toBeNull()
  now += IDLE_MS / 2
  expect(await logins.find('browser', busy.secret)).toBeNull()
})

test('who it is, is hoop.yaml’s word of this moment', async () => {
  const { secret } = await logins.begin('browser', alice)
  config = configSchema.parse({ ...base, people: {} })
  expect(await logins.find('browser', secret)).toBeNull()
  config = configSchema.parse({ ...base, people: { carol: { email: 'alice@acme.example' } } })
  expect((await logins.find('browser', secret))?.person.name).toBe('carol')
  // Another issuer's word about the same address is another's.
  config = configSchema.parse({
    ...base,
    console: { login: { issuer: 'https://new.test', client_id: 'hoop' } },
  })
  expect(await logins.find('browser', secret)).toBeNull()
})

test('who is named by `sub` is named by that alone, and roles are for claims that hold', () => {
  const who = (claims: object): unknown => {
    try {
      return logins.recognise({ iss: issuer, ...claims })
    } catch (error) {
      return error instanceof Error ? error.message : error
    }
  }
  expect(who({ sub: 'u-2' })).toMatchObject({ name: 'bob' })
  expect(who({ sub: 'u-9', email: 'bob@acme.example', email_verified: true })).toContain('is nobody’s')
  expect(who({ sub: 'u-9', email: 'alice@acme.example' })).toContain('its email is not verified')
  expect(who({ sub: 'u-9', groups: ['dev', 'audit'] })).toMatchObject({ name: null, roles: ['auditor'] })
  expect(who({ sub: 'u-9', groups: ['auditors'] })).toContain('is nobody’s')
  expect(who({ sub: 'u-9', groups: { audit: true } })).toContain('is nobody’s')
  expect(who({ sub: 'u-9', email: 'root@acme.example' })).toContain('is nobody’s')
  expect(who({ sub: 'u-9', email: 'root@acme.example', email_verified: true })).toMatchObject({
    roles: ['admin'],
  })
  expect(who({ sub: '__proto__', email: '__proto__', email_verified: true })).toContain('is nobody’s')
})

test('one account has so many logins, and the oldest makes room', async () => {
  const secrets: string[] = []
  for (let count = 0; count < 21; count++, now += 1000)
    secrets.push((await logins.begin('browser', alice)).secret)
  expect(await logins.find('browser', secrets[0] ?? '')).toBeNull()
  expect(await logins.find('browser', secrets[1] ?? '')).not.toBeNull()
  expect(await store.db.selectFrom('logins').select('digest').execute()).toHaveLength(20)
})

test('the token of forms is of one login', () => {
  expect(isFormToken('a', formToken('a'))).toBe(true)
  for (const wrong of [formToken('b'), '', undefined, 'a']) expect(isFormToken('a', wrong)).toBe(false)
})
