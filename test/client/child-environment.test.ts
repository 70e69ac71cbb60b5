import { expect, test } from 'vitest'
import { childEnvironment, type Inheritance } from '../../client/child-environment.ts'

const inheritance = (more: Partial<Inheritance>): Inheritance => ({
  parentHome: null,
  gateway: 'https://hoop.example:8443',
  rewritten: [],
  keep: [],
  sandbox: false,
  settings: {},
  ...more,
})

test.for([
  ['as it stands', '/tmp/a b/hoop-1', '/tmp/a b/hoop-1/client.key'],
  ['in a URL', '/tmp/a b/hoop-1', 'postgres://x@h/d?sslkey=/tmp/a%20b/hoop-1/client.key'],
  ['in a URL, with a percent sign elsewhere', '/tmp/a b/hoop-1', '100% /tmp/a%20b/hoop-1/token %zz %e0%a0'],
  ['in a URL on Windows', String.raw`D:\a\_temp\hoop-1`, 'sslkey=D%3A%5Ca%5C_temp%5Choop-1%5Cclient.key'],
  ['with slashes on Windows', String.raw`D:\a\_temp\hoop-1`, 'D:/a/_temp/hoop-1/id_ecdsa'],
] as const)('what names a file of the parent %s is gone', ([, parentHome, value]) => {
  const given = { OTHER: value, PATH: value, PLAIN: 'x' }
  expect(childEnvironment(given, inheritance({ parentHome }))).toEqual({ PATH: value, PLAIN: 'x' })
})

test('on Windows a variable is the same in any case: what was rewritten, what is secret, and what may be kept', () => {
  const given = {
    database_url: 'postgres://ci@db/shop',
    Github_Token: 'ghs_0123456789abcdef',
    Ci_Job_Token: 'x',
  }
  const rules = inheritance({ rewritten: ['DATABASE_URL'], keep: ['GITHUB_TOKEN'] })
  expect(childEnvironment(given, rules, 'win32')).toEqual({ Github_Token: 'ghs_0123456789abcdef' })
  // Elsewhere it is another variable.
  expect(childEnvironment({ database_url: 'mine' }, rules, 'linux')).toEqual({ database_url: 'mine' })
  const settings = { DATABASE_url: 'postgres://orders-db@gateway/shop' }
  const raw = { DATABASE_URL: 'postgres://ci@db/shop', other: 'x' }
  expect(childEnvironment(raw, inheritance({ settings }), 'win32')).toEqual({ ...settings, other: 'x' })
})
