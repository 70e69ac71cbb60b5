import { createServer as createHttp } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Smtp, startSmtp } from '../fakes/smtp.ts'
import { eventually, psql } from '../flows/stack.ts'
import { lacks } from '../servers/programs.ts'
import { type Answer, ask } from './browser.ts'
import { type PeopleStack, alice, bob, startPeopleStack } from './stack.ts'

const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const answers = `whsec_${Buffer.alloc(32, 8).toString('base64')}`
const received: {
  headers: Record<string, string>
  body: string
  json: { type: string; data: Record<string, unknown> }
}[] = []
let statuses: number[] = []
let stack: PeopleStack
let smtp: Smtp

const tickets = createHttp((request, response) => {
  void text(request).then((body) => {
    received.push({
      headers: request.headers as Record<string, string>,
      body,
      json: JSON.parse(body) as never,
    })
    response.writeHead(statuses.shift() ?? 204).end()
  })
})

beforeAll(async () => {
  smtp = await startSmtp()
  await new Promise<void>((resolve) => tickets.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(tickets.address() as AddressInfo).port}/in`
  stack = await startPeopleStack({
    approvers: `  dba: { members: [alice, bob, carol], gates: [{ email: {} }, { webhook: { to: tickets } }], timeout: 10m }`,
    more: `smtp: { url: "smtps://hoop:${smtp.password}@localhost:${smtp.port}", from: hoop@acme.example, ca: ${JSON.stringify(smtp.ca)} }
webhooks:
  tickets: { url: "${url}", secret: "${secret}", answers: { secret: "${answers}" }, allow_private: true }`,
  })
}, 120_000)
afterAll(async () => {
  await stack?.close()
  await smtp?.close()
  tickets.close()
  tickets.closeAllConnections()
})

const macOf = (key: string, id: string, time: string, body: string): string =>
  `v1,${createHmac('sha256', Buffer.from(key.slice(6), 'base64'))
    .update(`${id}.${time}.${body}`)
    .digest('base64')}`

function answer(
  data: object,
  { id = String(Math.random()).slice(2), at = Date.now(), key = answers } = {},
): Promise<Answer> {
  const body = JSON.stringify({ type: 'approval.answered', data })
  const time = String(Math.floor(at / 1000))
  return ask(new URL('/hooks/webhook', stack.url), {
    ca: stack.ca,
    method: 'POST',
    body,
    headers: {
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': time,
      'webhook-signature': macOf(key, id, time, body),
    },
  })
}

test('the ticket system is told, signed, tried again, and its answer lets it go on', async () => {
  statuses = [503, 429]
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 2')
  await eventually(async () => expect(received.length).toBeGreaterThanOrEqual(3))
  for (const { headers, body, json } of received) {
    const { 'webhook-id': id = '', 'webhook-timestamp': time = '' } = headers
    expect(id).toBe(`${approval.id}.asked`)
    expect(headers['webhook-signature']).toBe(macOf(secret, id, time, body))
    expect(json).toMatchObject({
      type: 'approval.asked',
      data: { webhook: 'tickets', groups: ['dba'], approval: { id: approval.id } },
    })
  }
  const data = { approval: approval.id, answer: 'approve', reason: 'OPS-311', email: 'Alice@acme.example' }
  // What is asked is signed with another secret: sent back, it answers nothing. Nor does what is old.
  expect((await answer(data, { key: secret })).status).toBe(401)
  expect((await answer(data, { at: Date.now() - 301_000 })).status).toBe(401)
  expect((await answer({ ...data, email: 'mallory@evil.example' })).status).toBe(403)
  // What did not count is not said to have counted when it comes again.
  for (const _ of [1, 2])
    expect((await answer({ ...data, email: 'carol@acme.example' }, { id: 'evt-0' })).body).toContain(
      'carol set off the job',
    )
  expect((await stack.view(approval.id)).state).toBe('pending')
  const id = 'evt-1'
  const [one, two] = await Promise.all([answer(data, { id }), answer(data, { id })])
  expect([one.status, two.status]).toEqual([200, 200])
  expect(await outcome).toBe('done: 1')
  expect((await answer(data)).status).toBe(409)
  expect((await stack.view(approval.id)).answers).toMatchObject([
    { person: 'alice', gate: 'webhook', reason: 'OPS-311' },
  ])
  await eventually(async () =>
    expect(received.at(-1)?.json).toMatchObject({
      type: 'approval.concluded',
      data: { approval: { state: expect.stringMatching(/^(approved|used)$/) } },
    }),
  )
})

test.skipIf(lacks('psql'))(
  'a letter leads to the page, and the page lets psql go on; what opens links approves nothing',
  async () => {
    smtp.letters.length = 0
    const job = await stack.open('deploy', { claims: { environment: 'production', actor_id: '583231' } })
    const waiting = psql(job, 'DELETE FROM notes WHERE id = 61 /* <b>note</b> */')
    const approval = await stack.held()
    await eventually(async () => expect(smtp.letters).toHaveLength(3))
    expect(smtp.letters.map(({ to }) => to.join(' ')).toSorted()).toEqual([
      'alice@acme.example',
      'bob@acme.example',
      'carol@acme.example',
    ])
    const [letter] = smtp.letters
    expect(letter?.text).toContain(approval.url)
    expect(letter?.source).not.toContain('DELETE FROM')
    expect(letter?.source).toMatch(/^auto-submitted: auto-generated$/im)
    expect(smtp.refused).toEqual([])
    // A scanner: every link of the letter, opened and posted to, with nobody logged in.
    for (const [link] of letter?.text.matchAll(/https:\/\/localhost:\S+/g) ?? []) {
      for (const method of ['GET', 'HEAD', 'POST']) await ask(new URL(link), { ca: stack.ca, method })
    }
    expect((await stack.view(approval.id)).state).toBe('pending')
    const [one, two] = [await stack.browse(alice), await stack.browse(bob)]
    const said = await Promise.all([
      one.submit(`/approvals/${approval.id}/answer`, { answer: 'approve', reason: '' }),
      two.submit(`/approvals/${approval.id}/answer`, { answer: 'approve', reason: '' }),
      answer({ approval: approval.id, answer: 'approve', email: 'bob@acme.example' }),
    ])
    expect(
      said.filter(({ url, body }) => url.search === '?told=approved' || body.includes('decided')),
    ).toHaveLength(1)
    expect((await waiting).code).toBe(0)
  },
)

test('a mail server that does not verify, or refuses one address, keeps nobody from the others', async () => {
  smtp.letters.length = 0
  smtp.refuse = 'bob@acme.example'
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 62')
  await eventually(async () =>
    expect((await stack.view(approval.id)).gates).toContainEqual(
      expect.objectContaining({
        gate: 'email',
        state: 'failed',
        failure: expect.stringContaining('does not take the letter'),
      }),
    ),
  )
  smtp.refuse = null
  await eventually(async () => expect(smtp.letters.map(({ to }) => to[0])).toContain('bob@acme.example'))
  expect(smtp.letters).toHaveLength(3)
  await answer({ approval: approval.id, answer: 'deny', email: 'bob@acme.example' })
  expect(await outcome).toContain('bob denied it')
})
