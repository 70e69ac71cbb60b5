import { createHash } from 'node:crypto'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type HttpJob, type HttpStack, startHttpStack } from '../flows/http-stack.ts'
import { eventually } from '../flows/stack.ts'

// Bodies that are not what they seem: bombs, bodies where none belong, bodies that stop, and what stands around them.

let stack: HttpStack
let job: HttpJob
/** Of the last request at the API. */
let received = { bytes: 0, hash: '', over: false }

beforeAll(async () => {
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - { connection: api, allow: [{ operations: [read, POST] }] }
`,
    upstream: (request, response) => {
      const path = request.url ?? ''
      if (path.endsWith('/bomb')) {
        response.writeHead(200, { 'content-encoding': 'gzip' })
        return void response.end(gzipSync(Buffer.alloc(300_000_000)))
      }
      if (path.endsWith('/twice')) {
        response.writeHead(200, { 'content-encoding': 'gzip, br' })
        return void response.end(brotliCompressSync(gzipSync('unread')))
      }
      if (path.endsWith('/again')) {
        response.writeHead(200, ['content-encoding', 'gzip', 'content-encoding', 'gzip'])
        return void response.end(gzipSync(gzipSync('unread')))
      }
      if (path.endsWith('/trailers')) {
        response.writeHead(200, { trailer: 'x-late', 'transfer-encoding': 'chunked' })
        response.write('body')
        response.addTrailers({ 'x-late': 'unread' })
        return void response.end()
      }
      if (path.endsWith('/known')) return void response.writeHead(304, { etag: '"1"' }).end()
      const hash = createHash('sha256')
      received = { bytes: 0, hash: '', over: false }
      request.on('data', (chunk: Buffer) => {
        received.bytes += chunk.byteLength
        hash.update(chunk)
      })
      request.once('close', () => {
        received.over = true
      })
      request.once('end', () => {
        received.hash = hash.digest('hex')
        response.end(JSON.stringify({ bytes: received.bytes, headers: request.rawHeaders }))
      })
    },
  })
  job = await stack.open('test')
}, 60_000)

afterAll(() => stack.close())
beforeEach(() => {
  stack.seen.length = 0
})

const head = 'Host: localhost\r\nConnection: close\r\n'

test('a bomb goes off nowhere: it passes as it is read, in little memory', async () => {
  const before = process.memoryUsage().rss
  let most = 0
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss - before)
  }, 20)
  // The client hangs up early; what the gateway has unpacked by then is bounded.
  const leaving = new AbortController()
  const reading = job.request('GET', '/http/api/bomb', { signal: leaving.signal })
  setTimeout(() => leaving.abort(), 300)
  await expect(reading).rejects.toThrow()
  clearInterval(watch)
  expect(most).toBeLessThan(400_000_000)
})

test.each(['twice', 'again'])('an answer that is packed twice (%s) is not released', async (path) => {
  expect(await job.raw(`GET /http/api/${path} HTTP/1.1\r\n${head}\r\n`)).toMatch(/^HTTP\/1\.1 502 /)
})

test('trailers pass neither way', async () => {
  const answer = await job.raw(`GET /http/api/trailers HTTP/1.1\r\n${head}\r\n`)
  expect(answer).toMatch(/bod[^]*y/)
  expect(answer).not.toContain('unread')
  await job.raw(
    `POST /http/api/x HTTP/1.1\r\n${head}Transfer-Encoding: chunked\r\nTrailer: authorization\r\n\r\n3\r\nabc\r\n0\r\nauthorization: evil\r\n\r\n`,
  )
  expect(stack.seen[0]?.raw.join()).not.toContain('evil')
})

test.each(['GET', 'HEAD'])('a %s may have a body, which stays one', async (method) => {
  const hidden = 'GET /http/api/hidden HTTP/1.1\r\nHost: x\r\n\r\n'
  await job.raw(`${method} /http/api/x HTTP/1.1\r\n${head}Content-Length: ${hidden.length}\r\n\r\n${hidden}`)
  expect(stack.seen.map(({ line }) => line)).toEqual([`${method} /base/x`])
  expect(received.bytes).toBe(hidden.length)
})

test('a client that waits to be asked for its body is asked once it may send it, and not before', async () => {
  const expecting = (method: string): string =>
    `${method} /http/api/x HTTP/1.1\r\n${head}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n`
  const allowed = await job.raw(`${expecting('POST')}abc`)
  expect(allowed).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /)
  expect(stack.seen[0]?.headers).not.toHaveProperty('expect')
  const refused = await job.raw(expecting('PUT'))
  expect(refused).toMatch(/^HTTP\/1\.1 403 /)
  expect(stack.seen).toHaveLength(1)
  expect(await job.raw(expecting('POST').replace('100-continue', 'miracles'))).toMatch(/^HTTP\/1\.1 417 /)
})

test('a large body arrives whole', async () => {
  const body = Buffer.alloc(20_000_000, 'abcdefg')
  const { status } = await job.request('POST', '/http/api/x', { body })
  expect(status).toBe(200)
  expect(received.hash).toBe(createHash('sha256').update(body).digest('hex'))
})

test('a body that is cut off is cut off at the API too', async () => {
  await job.raw(`POST /http/api/x HTTP/1.1\r\n${head}Content-Length: 100\r\n\r\nhalf`)
  await eventually(async () => expect(received).toMatchObject({ bytes: 4, hash: '', over: true }))
})

test('a client of HTTP/1.0 is answered, without chunks', async () => {
  const answer = await job.raw('GET /http/api/x HTTP/1.0\r\n\r\n')
  expect(answer).toMatch(/^HTTP\/1\.1 200 /)
  expect(answer.toLowerCase()).not.toContain('chunked')
  expect(answer).toContain('"bytes":0')
})

test('what has not changed is said without a body; ranges are not asked for', async () => {
  const { status, headers, body } = await job.request('GET', '/http/api/known', {
    headers: { 'if-none-match': '"1"', range: 'bytes=0-1' },
  })
  expect({ status, etag: headers.etag, body }).toEqual({ status: 304, etag: '"1"', body: '' })
  expect(stack.seen[0]?.headers).toMatchObject({ 'if-none-match': '"1"' })
  expect(stack.seen[0]?.headers).not.toHaveProperty('range')
})
