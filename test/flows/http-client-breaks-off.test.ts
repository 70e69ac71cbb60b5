import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type HttpStack, startHttpStack } from './http-stack.ts'
import { eventually } from './stack.ts'

let stack: HttpStack
beforeAll(async () => {
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: [{ connection: api, allow: [{ operations: [read] }] }]
`,
    upstream: (_request, response) => response.end('here\n'),
  })
}, 60_000)
afterAll(() => stack.close())

test.each(['leaves', 'breaks off'])(
  'a client that %s is on record as one that left, and not as a fault of the gateway',
  async (way) => {
    const { home } = await stack.open('test')
    const [ca, cert, key] = await Promise.all(
      ['ca.pem', 'client.crt', 'client.key'].map((name) => readFile(join(home, name))),
    )
    const before = (await stack.records('end')).length
    const socket = connectTcp(stack.port, '127.0.0.1')
    const client = connect({ socket, servername: 'localhost', ...(ca && cert && key && { ca, cert, key }) })
    client.on('error', () => undefined)
    client.write('GET /http/api/x HTTP/1.1\r\nhost: localhost\r\n\r\n')
    await once(client, 'data')
    if (way === 'leaves') client.end()
    // A reset, as of a machine whose process was killed with bytes unread.
    else socket.resetAndDestroy()
    const ends = await eventually(async () => {
      const all = await stack.records('end')
      expect(all).toHaveLength(before + 1)
      return all
    })
    expect(ends.at(-1)).toMatchObject({ why: 'client left' })
  },
)
