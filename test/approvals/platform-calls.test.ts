import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Call, call } from '../../gateway/platforms/call.ts'

// How platforms say "later", and whether what was asked for may have been done when they do.

let answer: { status: number; headers?: Record<string, string>; body?: string } | null
const server = createServer((request, response) => {
  if (answer === null) return void request.socket.destroy()
  response.writeHead(answer.status, answer.headers).end(answer.body ?? '{}')
})
let url = ''
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
})
afterAll(() => server.close())

/** What becomes of a call that is answered so: how long to wait (seconds, rounded up) and whether it was surely not done. */
async function told(
  given: typeof answer,
  method: Call['method'] = 'POST',
): Promise<{ seconds: number; undone: boolean }> {
  answer = given
  const error: unknown = await call('It', { method, url, headers: {} }).then(
    () => null,
    (failure: unknown) => failure,
  )
  const { afterMs, undone } = Object(error) as { afterMs: number; undone: boolean }
  return { seconds: Math.ceil(afterMs / 1000), undone }
}
const date = (inSeconds: number): string => new Date(Date.now() + inSeconds * 1000).toUTCString()
const epoch = (inSeconds: number): string => String(Math.floor(Date.now() / 1000) + inSeconds)

it('waits as long as it is told, in seconds or until a date, and never longer than a quarter of an hour', async () => {
  expect(await told({ status: 429, headers: { 'retry-after': '7' } })).toEqual({ seconds: 7, undone: true })
  const until = await told({ status: 429, headers: { 'retry-after': date(90) } })
  expect(until.seconds).toBeGreaterThan(60)
  expect(until.seconds).toBeLessThanOrEqual(90)
  for (const late of ['99999999', date(86_400 * 365)])
    expect((await told({ status: 429, headers: { 'retry-after': late } })).seconds).toBe(900)
  for (const none of ['-5', 'soon', date(-60), ''])
    expect((await told({ status: 429, headers: { 'retry-after': none } })).seconds).toBe(0)
  const limit = { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': epoch(120) }
  expect((await told({ status: 403, headers: limit })).seconds).toBeGreaterThan(60)
})

it('what was limited was not done; what broke may have been, unless it only reads', async () => {
  expect(await told({ status: 503 })).toMatchObject({ undone: false })
  expect(await told(null)).toMatchObject({ undone: false })
  expect(await told({ status: 200, body: '<html>' })).toMatchObject({ undone: false })
  expect(await told({ status: 503 }, 'GET')).toMatchObject({ undone: true })
  expect(await told(null, 'GET')).toMatchObject({ undone: true })
})
