import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Identity } from '../../gateway/core/identity.ts'
import { never, question } from '../approvals/desk.ts'
import { type Job, gatewayUrl, startChild, startJob } from '../identity/gateway.ts'
import { type ApiHouse, makeApiHouse, writeRecording } from './house.ts'

let house: ApiHouse
let root: Job
let child: Job
let other: Job
/** A session and a pending approval of the root, of its child, and of another job. */
const of: Record<'root' | 'child' | 'other', { session: string; approval: string }> = {
  root: { session: '', approval: '' },
  child: { session: '', approval: '' },
  other: { session: '', approval: '' },
}

beforeAll(async () => {
  house = await makeApiHouse()
  root = await startJob(house.gateway)
  child = await startChild(house.gateway, root, 'stage:migrate connection:orders-db')
  other = await startJob(house.gateway)
  for (const [name, job] of [
    ['root', root],
    ['child', child],
    ['other', other],
  ] as const) {
    const identity = await identityOf(job)
    const entry = await house.sessions.begin(identity, 'orders-db', 'postgres')
    writeRecording(house, entry.id, `{"of":"${name}"}\n`)
    const asked = await house.approvals.ask(
      question({ identity, session: entry.id, statement: `<b>${name}` }),
      never(),
    )
    asked.outcome.catch(() => undefined)
    of[name] = { session: entry.id, approval: asked.id }
  }
})
afterAll(() => house.close())

async function identityOf(job: Job): Promise<Identity> {
  const found = await house.gateway.identities.find(job.answer.identity)
  if (found === null) throw new Error('no identity')
  return found
}

type Who = 'nobody' | 'other' | 'child' | 'root' | 'operator'
const callers: readonly Who[] = ['nobody', 'other', 'child', 'root', 'operator']

function as(who: Who): { as?: Job | 'operator' } {
  if (who === 'nobody') return {}
  return { as: who === 'operator' ? who : { root, child, other }[who] }
}

/** Who gets what: the child's own are its family and the operator; a page asks whom it does not know to log in. */
const may = {
  everybody: { nobody: 200, other: 200, child: 200, root: 200, operator: 200 },
  known: { nobody: 401, other: 200, child: 200, root: 200, operator: 200 },
  jobs: { nobody: 401, other: 200, child: 200, root: 200, operator: 403 },
  family: { nobody: 401, other: 404, child: 200, root: 200, operator: 200 },
  page: { nobody: 200, other: 404, child: 200, root: 200, operator: 200 },
  operator: { nobody: 401, other: 403, child: 403, root: 403, operator: 200 },
} as const

/** What each caller gets for the child's things: nobody, another job, the child, its parent, the operator. */
const matrix: readonly [string, () => string, Readonly<Record<Who, number>>][] = [
  ['GET /api/v1/identity', () => '', may.jobs],
  ['GET /api/v1/identity/activity', () => '', may.jobs],
  ['GET /api/v1/identities', () => '', may.known],
  ['GET /api/v1/identities/', () => child.answer.identity, may.family],
  ['GET /identities/', () => child.answer.identity, may.page],
  ['GET /sessions/', () => of.child.session, may.page],
  ['GET /api/v1/approvals', () => '', may.known],
  ['GET /api/v1/approvals/', () => of.child.approval, may.family],
  ['GET /approvals/', () => of.child.approval, may.page],
  ['GET /approvals', () => '', may.everybody],
  ['GET /api/v1/sessions', () => '', may.known],
  ['GET /api/v1/sessions/', () => of.child.session, may.family],
  [
    'GET /api/v1/recordings/',
    () => of.child.session,
    { nobody: 401, other: 404, child: 404, root: 200, operator: 200 },
  ],
  ['GET /api/v1/audit/ledger', () => '', may.operator],
  ['GET /metrics', () => '', may.operator],
  ['GET /healthz', () => '', may.everybody],
  ['GET /readyz', () => '', may.everybody],
  ['GET /', () => '', may.everybody],
  ['GET /openapi.json', () => '', may.everybody],
  ['GET /ca.pem', () => '', may.everybody],
  ['GET /schema/hoop.json', () => '', may.everybody],
  ['GET /.well-known/jwks.json', () => '', may.everybody],
  ['GET /.well-known/oauth-authorization-server', () => '', may.everybody],
  ['GET /nothing', () => '', { nobody: 404, other: 404, child: 404, root: 404, operator: 404 }],
]

describe('who may see what', () => {
  for (const [route, id, expected] of matrix) {
    it(route, async () => {
      const [method = '', path = ''] = route.split(' ')
      for (const who of callers) {
        const answer = await house.ask({ method, path: path + id(), ...as(who) })
        expect(answer.status, `${who}: ${answer.body}`).toBe(expected[who])
        expect(answer.headers['cache-control']).toBe('no-store')
        if (answer.status >= 400) {
          expect(answer.headers['content-type']).toContain('application/problem+json')
          expect(answer.json).toMatchObject({
            status: answer.status,
            code: expect.any(String),
            next: expect.any(String),
          })
        }
        if (answer.status === 401) expect(answer.headers['www-authenticate']).toContain('DPoP')
      }
    })
  }

  it('every route of the interface is in the matrix above, or below', async () => {
    const { json } = await house.ask({ path: '/openapi.json' })
    const known = new Set(matrix.map(([route]) => route.split(' ')[1]?.replace(/\/$/, '/{id}') ?? ''))
    for (const path of ['/', '/oauth/token', '/oauth/lease', '/oauth/revoke']) known.add(path)
    // Public files; test/flows/executable-for-jobs.test.ts asks for them.
    for (const path of ['/client/', '/client/{name}', '/client/{sha256}/{name}']) known.add(path)
    for (const path of ['/oauth/device_authorization', '/approvals/{id}/answer']) known.add(path)
    for (const answer of ['approve', 'deny']) known.add(`/api/v1/approvals/{id}/${answer}`)
    const { paths } = json as { paths: Record<string, unknown> }
    expect(Object.keys(paths).filter((path) => !known.has(path))).toEqual([])
    expect(Object.keys(paths).length).toBeGreaterThan(20)
  })

  it('lists hold a caller’s own and what is below, never above or beside', async () => {
    const ids = async (path: string, who: Who): Promise<unknown[]> => {
      const { json } = await house.ask({ path, ...as(who) })
      return (json as { id: string }[]).map(({ id }) => id).toSorted()
    }
    const sorted = (...names: string[]): string[] => names.toSorted()
    expect(await ids('/api/v1/sessions', 'child')).toEqual([of.child.session])
    expect(await ids('/api/v1/sessions', 'root')).toEqual(sorted(of.child.session, of.root.session))
    expect(await ids('/api/v1/sessions', 'operator')).toHaveLength(3)
    expect(await ids('/api/v1/approvals', 'other')).toEqual([of.other.approval])
    expect(await ids('/api/v1/approvals', 'root')).toEqual(sorted(of.child.approval, of.root.approval))
    expect(await ids('/api/v1/approvals?state=denied', 'operator')).toEqual([])
    expect(await ids('/api/v1/identities', 'child')).toEqual([child.answer.identity])
    expect(await ids('/api/v1/identities', 'root')).toEqual(
      sorted(child.answer.identity, root.answer.identity),
    )
    const { json } = await house.ask({ path: '/api/v1/identity/activity', as: root })
    expect(json).toMatchObject({ sessions: { length: 2 }, approvals: { length: 2 } })
  })

  it('pages do not repeat and do not skip', async () => {
    for (const kind of ['sessions', 'approvals', 'identities']) {
      const all = (await house.ask({ path: `/api/v1/${kind}`, as: 'operator' })).json as { id: string }[]
      const seen: string[] = []
      for (let before = ''; ; ) {
        const path = `/api/v1/${kind}?limit=1${before === '' ? '' : `&before=${before}`}`
        const [row] = (await house.ask({ path, as: 'operator' })).json as { id: string }[]
        if (row === undefined) break
        seen.push((before = row.id))
      }
      expect(seen).toEqual(all.map(({ id }) => id))
    }
  })

  it('the identity’s view says where its connections are, and how it is narrowed', async () => {
    const { json } = await house.ask({ path: '/api/v1/identity', as: child })
    expect(json).toMatchObject({
      id: child.answer.identity,
      stage: 'migrate',
      chain: [
        { id: root.answer.identity, stage: 'deploy' },
        { id: child.answer.identity, stage: 'migrate' },
      ],
      connections: [
        { name: 'orders-db', type: 'postgres', host: 'hoop.acme.example', port: 8443, databases: ['shop'] },
      ],
    })
  })

  it('a DPoP-bound token with its proof is as good as the certificate', async () => {
    const token = root.answer.access_token
    const dpop = await root.key.prove({ token, claims: { htm: 'GET', htu: `${gatewayUrl}/api/v1/identity` } })
    const headers = { authorization: `DPoP ${token}`, dpop }
    const answer = await house.ask({ path: '/api/v1/identity?x=1', headers })
    expect(answer.json).toMatchObject({ id: root.answer.identity })
    expect((await house.ask({ path: '/api/v1/identity', headers })).status).toBe(401)
  })

  it('an approval’s page shows what is asked, escaped, to those who may see it and to nobody else', async () => {
    const path = `/approvals/${of.child.approval}`
    const seen = await house.ask({ path, as: 'operator' })
    expect(seen.body).toContain('&lt;b&gt;child')
    expect(seen.body).not.toContain('<b>child')
    expect(seen.headers['content-security-policy']).toContain("default-src 'none'")
    const anonymous = await house.ask({ path })
    expect(anonymous.body).not.toContain('child')
    const missing = await house.ask({ path: `/approvals/apr_${'a'.repeat(26)}` })
    expect(missing.body.replaceAll(/apr_\w+/g, '')).toBe(anonymous.body.replaceAll(/apr_\w+/g, ''))
  })

  it('the pages of an identity and of a session show it to those who may see it, and say the same to all others', async () => {
    const pages = [
      [`/identities/${child.answer.identity}`, 'migrate', `/identities/idn_${'a'.repeat(26)}`],
      [`/sessions/${of.child.session}`, 'orders-db', `/sessions/ses_${'a'.repeat(26)}`],
    ] as const
    for (const [path, shown, none] of pages) {
      const seen = await house.ask({ path, as: root })
      expect(seen.body).toContain(shown)
      expect(seen.headers['content-security-policy']).toContain("default-src 'none'")
      const anonymous = await house.ask({ path })
      expect(anonymous.body).toMatch(/<pre>hoop-access sessions /)
      expect(anonymous.body).not.toContain(shown)
      const missing = await house.ask({ path: none })
      const plain = (text: string): string => text.replaceAll(/(idn|ses)_\w+/g, '')
      expect(plain(missing.body)).toBe(plain(anonymous.body))
    }
    const links = (await house.ask({ path: `/identities/${child.answer.identity}`, as: root })).body
    expect(links).toContain(`href="/sessions/${of.child.session}"`)
    expect(links).toContain(`href="/identities/${root.answer.identity}"`)
  })

  it('what claims say is text in a page, never markup', async () => {
    const nasty = '<script>alert(1)</script>"\''
    const job = await startJob(house.gateway, { claims: { ref: 'refs/heads/x', actor: nasty } })
    const { body } = await house.ask({ path: `/identities/${job.answer.identity}`, as: 'operator' })
    expect(body).toContain('&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;')
    expect(body).not.toContain('<script>')
  })

  it('sessions of one identity are those of it and below, and only as far as the caller may see', async () => {
    const ids = async (identity: string, who: Who): Promise<unknown[]> => {
      const { json } = await house.ask({ path: `/api/v1/sessions?identity=${identity}`, ...as(who) })
      return (json as { id: string }[]).map(({ id }) => id)
    }
    expect(await ids(child.answer.identity, 'operator')).toEqual([of.child.session])
    expect(await ids(root.answer.identity, 'operator')).toHaveLength(2)
    expect(await ids(root.answer.identity, 'child')).toEqual([of.child.session])
    expect(await ids(root.answer.identity, 'other')).toEqual([])
  })

  it('a recording comes as it is', async () => {
    const answer = await house.ask({ path: `/api/v1/recordings/${of.child.session}`, as: root })
    expect(answer.body).toBe('{"of":"child"}\n')
    expect(answer.headers['content-type']).toContain('application/x-ndjson')
  })
})

describe('answers to approvals', () => {
  it('only the operator’s count, and only where the group lists the operator', async () => {
    for (const who of ['nobody', 'other', 'child', 'root'] as const) {
      for (const answer of ['approve', 'deny']) {
        const path = `/api/v1/approvals/${of.child.approval}/${answer}`
        const { status } = await house.ask({ method: 'POST', path, body: '{"reason":""}', ...as(who) })
        expect(status).toBe(who === 'nobody' ? 401 : 403)
      }
    }
    const foreign = await house.approvals.ask(
      question({ by: ['people'], identity: await identityOf(root) }),
      never(),
    )
    foreign.outcome.catch(() => undefined)
    const refused = await house.ask({
      method: 'POST',
      path: `/api/v1/approvals/${foreign.id}/approve`,
      body: '{}',
      as: 'operator',
    })
    expect(refused).toMatchObject({ status: 403, json: { code: 'denied' } })
    expect(await house.approvals.show(of.child.approval)).toMatchObject({ state: 'pending', answers: [] })
  })

  it('approve releases, and a second answer is told that it is late', async () => {
    const asked = await house.approvals.ask(question({ identity: await identityOf(root) }), never())
    const path = `/api/v1/approvals/${asked.id}`
    const first = await house.ask({
      method: 'POST',
      path: `${path}/approve`,
      body: '{"reason":"fine"}',
      as: 'operator',
    })
    expect(first).toMatchObject({
      status: 200,
      json: { id: asked.id, answers: [{ person: 'operator', reason: 'fine' }] },
    })
    await expect(asked.outcome).resolves.toMatchObject({ answers: [{ person: 'operator' }] })
    const second = await house.ask({
      method: 'POST',
      path: `${path}/deny`,
      body: '{"reason":""}',
      as: 'operator',
    })
    expect(second).toMatchObject({ status: 409, json: { code: 'already_decided' } })
    const none = await house.ask({
      method: 'POST',
      path: `/api/v1/approvals/apr_${'a'.repeat(26)}/deny`,
      body: '{}',
      as: 'operator',
    })
    expect(none.status).toBe(404)
  })
})

describe('counts', () => {
  it('are there for Prometheus, with no label that a client chooses', async () => {
    const { body } = await house.ask({ path: '/metrics', as: 'operator' })
    expect(body).toContain('hoop_sessions_running 3')
    expect(body).toMatch(/hoop_held_seconds_count\{state="approved"\} 1/)
    expect(body).not.toContain('idn_')
    expect(body).not.toContain('orders-db')
  })

  it('nothing secret was logged by any of the above', () => {
    const log = house.logged.join('\n')
    expect(log).toContain('/api/v1/approvals/:id')
    for (const secret of [
      house.gateway.keys.operatorToken,
      root.answer.access_token,
      of.child.approval,
      'limit=1',
    ])
      expect(log).not.toContain(secret)
  })
})
