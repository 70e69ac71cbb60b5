import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type TestGateway, configOf, exchangeToken, gatewayUrl, makeKey, startGateway } from './gateway.ts'

let gateway: TestGateway
beforeEach(async () => {
  gateway = await startGateway()
})
afterEach(() => gateway.close())

let jobs = 0
const ask = async (claims: object = {}): Promise<string> => {
  const ahead = gateway.ahead / 1000
  const token = await gateway.github.issue(
    { check_run_id: String(++jobs), ...claims },
    { aud: gatewayUrl, issuedIn: ahead, expiresIn: ahead + 300 },
  )
  return exchangeToken(gateway, { token, key: makeKey() }).then(
    () => 'accepted',
    (error: { code: string }) => error.code,
  )
}
const fetches = (): number =>
  gateway.github.requests.filter((request) => request.path === '/.well-known/jwks').length

describe('the keys of an issuer', () => {
  test('are fetched once for many tokens, also at the same time', async () => {
    expect(await Promise.all(Array.from({ length: 10 }, () => ask()))).toEqual(Array(10).fill('accepted'))
    expect(await ask()).toBe('accepted')
    expect(fetches()).toBe(1)
  })

  test('are fetched again for a key that is new, but not more often than every half minute', async () => {
    expect(await ask()).toBe('accepted')
    gateway.github.rotate()
    expect(await ask()).toBe('issuer_unavailable')
    expect(fetches()).toBe(1)
    gateway.ahead += 31_000
    expect(await ask()).toBe('accepted')
    expect(fetches()).toBe(2)
  })

  test('that the issuer took back are forgotten within ten minutes', async () => {
    const old = await gateway.github.issue({ check_run_id: 'old' }, { aud: gatewayUrl, expiresIn: 3600 })
    expect(await ask()).toBe('accepted')
    gateway.github.rotate()
    gateway.ahead += 601_000
    expect(await ask()).toBe('accepted')
    gateway.ahead += 31_000
    await expect(exchangeToken(gateway, { token: old, key: makeKey() })).rejects.toMatchObject({
      code: 'invalid_token',
    })
  })

  test('serve on while the issuer is down, for a day', async () => {
    expect(await ask()).toBe('accepted')
    gateway.github.fail(503)
    gateway.ahead += 3_600_000
    expect(await ask()).toBe('accepted')
    gateway.ahead += 86_400_000
    expect(await ask()).toBe('issuer_unavailable')
    gateway.github.fail(null)
    gateway.ahead += 31_000
    expect(await ask()).toBe('accepted')
  })

  test('that cannot be fetched at first are a fault that may pass', async () => {
    gateway.github.fail(500)
    expect(await ask()).toBe('issuer_unavailable')
    gateway.github.fail(null)
    gateway.ahead += 3000
    expect(await ask()).toBe('accepted')
  })
})

test('claims may differ in clock by a minute', async () => {
  const now = Math.floor(Date.now() / 1000)
  expect(await ask({ iat: now + 50, nbf: now + 50 })).toBe('accepted')
  expect(await ask({ exp: now - 50 })).toBe('accepted')
})

describe('one root a job, by the claims of its platform', () => {
  const become = (platform: string): void => {
    gateway.config = configOf(gateway.github.url, (raw) => {
      Object.assign(Object(raw['issuers']), {
        github: { platform, url: gateway.github.url, allow_private: true },
      })
    })
  }
  const pair = async (first: object, second: object): Promise<[string, string]> => [
    await ask(first),
    await ask(second),
  ]

  test('GitLab: job_id', async () => {
    become('gitlab')
    expect(await pair({ job_id: '7' }, { job_id: '7' })).toEqual(['accepted', 'token_reused'])
    expect(await ask({ job_id: '8' })).toBe('accepted')
    expect(await ask()).toBe('invalid_token')
  })

  test('Jenkins: sub and build_number, without jti', async () => {
    become('jenkins')
    const job = { sub: 'https://ci.acme.example/job/shop/', jti: undefined, nbf: undefined }
    expect(await pair({ ...job, build_number: 7 }, { ...job, build_number: 7 })).toEqual([
      'accepted',
      'token_reused',
    ])
    expect(await ask({ ...job, build_number: 8 })).toBe('accepted')
  })

  test('GitHub: a token that does not say its job is refused', async () => {
    expect(await ask({ check_run_id: undefined })).toBe('invalid_token')
  })

  test('any other: the token itself', async () => {
    become('oidc')
    expect(await pair({ jti: 'a' }, { jti: 'a' })).toEqual(['accepted', 'token_reused'])
    expect(await ask({ jti: 'b' })).toBe('accepted')
  })
})
