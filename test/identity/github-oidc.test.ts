import { decodeJwt } from 'jose'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type GithubOidc, startGithubOidc } from '../fakes/github-oidc.ts'

// The stand-in refuses what GitHub refuses, so that a client which passes here passes there.

let github: GithubOidc
beforeEach(async () => {
  github = await startGithubOidc()
})
afterEach(() => github.close())

const ask = (url: string, token = github.requestToken): Promise<Response> =>
  fetch(url, { headers: { authorization: `bearer ${token}` } })

test('gives a token for the audience that is asked', async () => {
  const response = await ask(`${github.requestUrl}&audience=${encodeURIComponent('https://hoop.example')}`)
  const { count, value } = (await response.json()) as { count: number; value: string }
  expect(count).toBe(value.length)
  expect(decodeJwt(value)).toMatchObject({
    iss: github.url,
    aud: 'https://hoop.example',
    repository_id: '1296269',
  })
})

test('gives the job’s claims, of which some may be taken out', async () => {
  github.setJob({ environment: 'production', ref: undefined })
  const { value } = (await (await ask(github.requestUrl)).json()) as { value: string }
  expect(decodeJwt(value)).toMatchObject({ environment: 'production', aud: 'https://github.com/acme' })
  expect(decodeJwt(value)).not.toHaveProperty('ref')
})

test('refuses a wrong bearer, a missing api-version, an empty audience, another method, another path', async () => {
  expect((await ask(github.requestUrl, 'wrong')).status).toBe(401)
  expect((await fetch(github.requestUrl)).status).toBe(401)
  expect((await ask(github.requestUrl.replace('?api-version=2.0', ''))).status).toBe(400)
  expect((await ask(`${github.requestUrl}&audience=`)).status).toBe(400)
  expect((await ask(`${github.requestUrl}&audience=a&audience=b`)).status).toBe(400)
  expect((await fetch(github.requestUrl, { method: 'POST' })).status).toBe(405)
  expect((await ask(`${github.url}/other`)).status).toBe(404)
})
