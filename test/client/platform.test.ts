import nock from 'nock'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ClientError } from '../../client/error.ts'
import { choosePlatform } from '../../client/platform.ts'

const environment = {
  ACTIONS_ID_TOKEN_REQUEST_URL:
    'https://pipelines.actions.githubusercontent.com/abc/idtoken/1/2?api-version=2.0',
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'runner-bearer',
}
const audience = 'https://hoop.example:8443'

beforeAll(() => nock.disableNetConnect())
afterEach(() => nock.cleanAll())
afterAll(() => {
  nock.enableNetConnect()
  nock.restore()
})

function endpoint(): nock.Interceptor {
  return nock('https://pipelines.actions.githubusercontent.com', {
    reqheaders: { authorization: 'Bearer runner-bearer' },
  })
    .get('/abc/idtoken/1/2')
    .query({ 'api-version': '2.0', audience })
}

async function failure(work: Promise<unknown>): Promise<ClientError> {
  const error: unknown = await work.then(
    () => new Error('it succeeded'),
    (thrown: unknown) => thrown,
  )
  if (error instanceof ClientError) return error
  throw error
}

describe('GitHub', () => {
  const ask = (more: Record<string, string> = {}): Promise<string> =>
    choosePlatform('github', { ...environment, ...more }).getIdToken(audience)

  test('gives a token for the audience', async () => {
    endpoint().reply(200, { value: 'a.b.c' })
    expect(await ask()).toBe('a.b.c')
  })

  test('a missing permission is said with the YAML to add', async () => {
    const error = await failure(choosePlatform('github', {}).getIdToken(audience))
    expect(error.next).toContain('permissions:\n      id-token: write')
    expect(error.temporary).toBe(false)
  })

  test('where TLS is not verified GitHub is not asked', async () => {
    const asked = endpoint().reply(200, { value: 'a.b.c' })
    const error = await failure(ask({ NODE_TLS_REJECT_UNAUTHORIZED: '0' }))
    expect(error.next).toContain('NODE_EXTRA_CA_CERTS')
    expect(asked.isDone()).toBe(false)
    nock.cleanAll()
  })

  test.for([500, 502, 503, 429])('status %d may pass', async (status) => {
    endpoint().reply(status, 'sorry')
    expect((await failure(ask())).temporary).toBe(true)
  })

  test('status 403 will not, and the bearer is not shown', async () => {
    endpoint().reply(403, 'runner-bearer')
    const error = await failure(ask())
    expect(error.temporary).toBe(false)
    expect(error.message).not.toContain('runner-bearer')
  })

  test('a redirect is not followed: the bearer goes nowhere else', async () => {
    endpoint().reply(302, '', { location: 'https://elsewhere.example/' })
    const elsewhere = nock('https://elsewhere.example').get('/').reply(200, { value: 'x' })
    await failure(ask())
    expect(elsewhere.isDone()).toBe(false)
  })

  test.for(['', 'not json', '{}', '{"value":7}', '{"value":""}'])(
    'an answer of %j is no token',
    async (body) => {
      endpoint().reply(200, body)
      expect((await failure(ask())).code).toBe('issuer_unavailable')
    },
  )
})

describe('other platforms', () => {
  test.for(['gitlab', 'jenkins', 'token'])('%s reads HOOP_ID_TOKEN', async (name) => {
    expect(await choosePlatform(name, { HOOP_ID_TOKEN: 'a.b.c\n' }).getIdToken(audience)).toBe('a.b.c')
    expect((await failure(choosePlatform(name, {}).getIdToken(audience))).why).toContain('HOOP_ID_TOKEN')
  })

  test.for([undefined, '', 'travis'])('%j is not guessed at', (name) => {
    expect(() => choosePlatform(name, { GITHUB_ACTIONS: 'true' })).toThrow(/--platform/)
  })
})
