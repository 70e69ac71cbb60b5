import { createHmac, randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { confirmPage, devicePage, message } from '../../console/login-pages.ts'
import { html } from '../../console/html.ts'
import { Refused } from '../../core/errors.ts'
import { networkOf } from '../../listener/admission.ts'
import { type People, callbackPath } from '../../login/people.ts'
import type { Challenge } from '../../login/provider.ts'
import { Failures } from '../failures.ts'
import type { ApiParts } from '../parts.ts'
import {
  type Visitor,
  attemptCookie,
  cookieOf,
  formOf,
  sessionCookie,
  setCookie,
  visitorOf,
} from '../visitor.ts'
import { pageOf, send, signIn } from '../pages.ts'

/** How long somebody may take at the issuer; seconds. */
const ATTEMPT_S = 600
/** User codes that one account may get wrong within a minute (RFC 8628 §5.1). */
const WRONG_CODES = 10
/** Where a login may lead back to: our own pages, by name. */
const ways = /^\/(approvals|device|(approvals|sessions|identities)\/[a-z]{3}_[a-z2-7]{26})$/
const toQuery = z.object({ to: z.string() })
const deviceForm = z.object({
  code: z.string().min(1).max(32),
  word: z.enum(['confirmed', 'refused']).optional(),
})

/** People's way in: to the issuer and back, out again, and the page that lets their terminals in. */
export function loginPages(app: FastifyInstance, parts: ApiParts, people: People): void {
  const { logins, provider, devices } = people
  const wrongCodes = new Failures({ allowed: WRONG_CODES })

  app.get('/login', pageOf('To the issuer, to log in'), async (request, reply) => {
    const query = toQuery.safeParse(request.query)
    const to = query.success && ways.test(query.data.to) ? query.data.to : '/approvals'
    const seed = randomBytes(32).toString('base64url')
    const where = await provider.begin(challengeOf(seed))
    // All that an attempt needs is in the browser that makes it: nothing here to fill up, and any gateway can finish it.
    const cookie = setCookie(attemptCookie, `${seed}.${Buffer.from(to).toString('base64url')}`, ATTEMPT_S)
    return reply.header('set-cookie', cookie).redirect(where, 303)
  })

  app.get(callbackPath, pageOf('Back from the issuer'), async (request, reply) => {
    const network = networkOf(request.socket.remoteAddress ?? '')
    parts.failures.check(network)
    reply.header('set-cookie', setCookie(attemptCookie, null))
    const [seed = '', path = ''] = cookieOf(request, attemptCookie)?.split('.') ?? []
    if (!/^[\w-]{43}$/.test(seed)) {
      throw new Refused(
        'invalid_request',
        'this browser did not begin this login, or took longer than ten minutes',
        `open ${parts.url}/approvals and log in from there`,
      )
    }
    try {
      const { search } = new URL(request.url, parts.url)
      const said = await provider.finish(new URLSearchParams(search), challengeOf(seed))
      logins.recognise(said.claims)
      // Whatever this browser held before ends: a session is never handed on into another login.
      const old = cookieOf(request, sessionCookie)
      if (old !== null) await logins.end(old)
      const { secret } = await logins.begin('browser', said.claims)
      const to = Buffer.from(path, 'base64url').toString()
      return await reply
        .header('set-cookie', setCookie(sessionCookie, secret))
        .redirect(ways.test(to) ? to : '/approvals', 303)
    } catch (error) {
      parts.failures.note(network)
      throw error
    }
  })

  app.post('/logout', pageOf('Ends the login'), async (request, reply) => {
    formOf(request, parts.url)
    const secret = cookieOf(request, sessionCookie)
    if (secret !== null) await logins.end(secret)
    return send(
      reply
        .header('set-cookie', setCookie(sessionCookie, null))
        .header('clear-site-data', '"cache", "storage"'),
      message(
        null,
        'You are logged out',
        html`<p><a class="button approve" href="/login?to=%2Fapprovals">Log in again</a></p>`,
      ),
    )
  })

  app.get('/device', pageOf('Where a terminal’s code is typed'), async (request, reply) => {
    const { reader } = await visitorOf(request, reply, parts)
    if (reader === null) return signIn(reply, parts, '/device', ['hoop-access login'])
    return send(reply, devicePage(reader, false))
  })

  app.post('/device', pageOf('A terminal’s code, and the person’s word on it'), async (request, reply) => {
    const { reader, login } = personAt(await visitorOf(request, reply, parts), parts)
    const form = deviceForm.safeParse(formOf(request, parts.url))
    const account = String(login.claims['sub'])
    wrongCodes.check(account)
    if (!form.success) return send(reply, devicePage(reader, true))
    const { code, word } = form.data
    const waiting = await devices.waiting(code)
    if (waiting === null || (word !== undefined && !(await devices.decide(code, login.claims, word)))) {
      wrongCodes.note(account)
      return send(reply, devicePage(reader, true))
    }
    if (word === undefined) {
      const { address, askedAt } = waiting
      return send(reply, confirmPage(reader, { code, address, askedAt: new Date(askedAt).toISOString() }))
    }
    const words =
      word === 'confirmed'
        ? (['The terminal is logged in', 'Go back to it. You can close this page.'] as const)
        : (['It was refused', 'The terminal is not logged in.'] as const)
    return send(reply, message(reader, words[0], html`<p>${words[1]}</p>`))
  })
}

/** The reader and the login of somebody who has one, or `Refused`. */
function personAt(
  { reader, login }: Visitor,
  parts: Pick<ApiParts, 'url'>,
): { readonly reader: NonNullable<Visitor['reader']>; readonly login: NonNullable<Visitor['login']> } {
  if (reader !== null && login !== null) return { reader, login }
  throw new Refused(
    'unauthenticated',
    'you are not logged in any more',
    `log in again at ${parts.url}/device`,
  )
}

/** What an attempt proves itself by: one-way from a seed that only its browser holds. */
function challengeOf(seed: string): Challenge {
  const part = (name: string): string => createHmac('sha256', seed).update(name).digest('base64url')
  return { state: part('state'), nonce: part('nonce'), verifier: part('verifier') }
}
