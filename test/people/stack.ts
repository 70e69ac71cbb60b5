import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { type Claims, type Idp, startIdp } from '../fakes/idp.ts'
import { type Job, type Stack, connect, run, startStack } from '../flows/stack.ts'
import { has } from '../servers/programs.ts'
import { type Answer, Browser, ask } from './browser.ts'

/** A gateway whose people log in at an issuer of their own, all real but that issuer. */
export interface PeopleStack extends Stack {
  readonly idp: Idp
  /** The CA of the gateway's certificate, PEM. */
  readonly ca: string
  /** A browser of somebody who is logged in. */
  browse(account?: Claims): Promise<Browser>
  /** Asks as the operator. */
  operate(path: string, body?: object): Promise<Answer>
  /** The one approval that is pending, once there is one. */
  held(): Promise<ApprovalView>
  view(id: string): Promise<ApprovalView>
  /** What becomes of a job's statement: `done: ROWS`, or `refused: ` and what its client says. */
  say(job: Job, statement: string): Promise<string>
  /** Has a job send a statement that is held; gives its approval and what becomes of it. */
  hold(statement: string, job?: Job): Promise<{ approval: ApprovalView; outcome: Promise<string> }>
}

export const alice = { sub: 'u-alice', email: 'alice@acme.example', email_verified: true }
export const bob = { sub: 'u-bob', email: 'Bob@acme.example', email_verified: true }
/** Set off the job that asks. */
export const carol = { sub: 'u-carol', email: 'carol@acme.example', email_verified: true }
export const auditor = {
  sub: 'u-audit',
  email: 'audit@other.example',
  email_verified: true,
  groups: ['audit'],
}
export const stranger = { sub: 'u-mallory', email: 'mallory@evil.example', email_verified: true }

/** Starts it. `approvers` is YAML below `approvers:`, `more` on the top level. */
export async function startPeopleStack(
  options: {
    readonly approvers?: string
    readonly more?: string
    readonly stages?: (yaml: string) => string
  } = {},
): Promise<PeopleStack> {
  let url = ''
  const idp = await startIdp(() => [`${url}/login/callback`])
  const {
    approvers = '  dba: { members: [alice, bob, carol], gates: [{ console: {} }], timeout: 10m }',
    more = '',
    stages = (yaml) => yaml,
  } = options
  const stack = await startStack({
    edit: (yaml) => {
      url = /url: (\S+)/.exec(yaml)?.[1] ?? ''
      return `${stages(yaml.slice(0, yaml.indexOf('approvers:')))}
people:
  alice: { email: alice@acme.example, slack: U0ALICE01 }
  bob: { email: bob@acme.example, slack: U0BOB0001 }
  carol: { email: carol@acme.example, github: 583231, slack: U0CAROL01 }
approvers:
${approvers}
console:
  login: { issuer: "${idp.url}", client_id: hoop, client_secret: ${JSON.stringify(idp.clientSecret)}, allow_private: true }
  roles: { auditor: [{ claims: { groups: audit } }] }
${more}
`
    },
  })
  const ca = await readFile(join(stack.data, 'ca.pem'), 'utf8')
  const token = (await readFile(join(stack.data, 'operator.token'), 'utf8')).trim()
  const people: PeopleStack = {
    ...stack,
    idp,
    ca,
    async browse(account = alice) {
      const browser = new Browser(stack.url, ca)
      idp.account = account
      await browser.visit('/login')
      return browser
    },
    operate: (path, body) =>
      ask(new URL(path, stack.url), {
        ca,
        headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
        ...(body && { method: 'POST', body: JSON.stringify(body) }),
      }),
    async held() {
      for (let tries = 0; tries < 200; tries++) {
        const { body } = await people.operate('/api/v1/approvals?state=pending')
        const [found] = JSON.parse(body) as ApprovalView[]
        if (found !== undefined) return found
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      throw new Error('nothing is pending')
    },
    view: async (id) => JSON.parse((await people.operate(`/api/v1/approvals/${id}`)).body) as ApprovalView,
    say: (job, statement) => (has('psql') ? byPsql(job, statement) : byPg(job, statement)),
    async hold(statement, job) {
      const own =
        job ?? (await stack.open('deploy', { claims: { environment: 'production', actor_id: '583231' } }))
      const outcome = people.say(own, statement)
      return { approval: await people.held(), outcome }
    },
    async close() {
      await stack.close()
      await idp.close()
    },
  }
  return people
}

/** What becomes of a statement in psql: `done: ROWS`, or its error. */
async function byPsql(job: Job, statement: string): Promise<string> {
  const { code, out, err } = await run('psql', ['-XAt', '-c', statement], job.env)
  return code === 0 ? `done: ${out.trim().split(' ').at(-1)}` : `refused: ${err}`
}

/** The same where there is no psql. */
async function byPg(job: Job, statement: string): Promise<string> {
  const client = await connect(job)
  client.on('error', () => undefined)
  try {
    return `done: ${(await client.query(statement)).rowCount}`
  } catch (error) {
    return `refused: ${error instanceof Error ? error.message : String(error)}`
  } finally {
    await client.end().catch(() => undefined)
  }
}
