import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Reader } from '../console/layout.ts'
import { Refused } from '../core/errors.ts'
import { type Login, formToken, isFormToken } from '../login/logins.ts'
import type { Caller } from './caller.ts'
import type { ApiParts } from './parts.ts'

// `__Host-`: this host only, by TLS only, for every path; nothing on a sister domain can set or shadow it.
export const sessionCookie = '__Host-hoop'
export const attemptCookie = '__Host-hoop-login'

/** Who looks at a page: the caller, and for somebody who logged in with a browser what its pages and forms need. */
export interface Visitor {
  readonly caller: Caller
  readonly reader: Reader | null
  readonly login: Login | null
}

/** Reads the session cookie, or else what an API caller shows; `use` is false for what a page's script asks by itself. Rejects with `Refused` when a proof does not hold. */
export async function visitorOf(
  request: FastifyRequest,
  reply: FastifyReply,
  parts: ApiParts,
  use = true,
): Promise<Visitor> {
  const secret = request.headers.authorization === undefined ? cookieOf(request, sessionCookie) : null
  const login =
    secret === null || parts.people === null ? null : await parts.people.logins.find('browser', secret, use)
  if (login === null || secret === null)
    return { caller: await parts.caller(request, reply), reader: null, login: null }
  parts.settled?.(request.socket)
  reply.removeHeader('connection')
  const { person } = login
  return {
    caller: { kind: 'person', person },
    reader: { shown: person.shown, roles: person.roles, formToken: formToken(secret) },
    login,
  }
}

/** The value of a cookie that came once; null when it is absent, came twice, or is no text of ours. */
export function cookieOf(request: FastifyRequest, name: string): string | null {
  const values = (request.headers.cookie ?? '')
    .split(/; */)
    .flatMap((pair) => (pair.startsWith(`${name}=`) ? [pair.slice(name.length + 1)] : []))
  const [value = ''] = values
  return values.length === 1 && /^[\w.-]{1,512}$/.test(value) ? value : null
}

/** The header that sets a cookie, or takes it back. */
export function setCookie(name: string, value: string | null, seconds?: number): string {
  const life = value === null ? '; Max-Age=0' : seconds === undefined ? '' : `; Max-Age=${seconds}`
  return `${name}=${value ?? ''}; Path=/; Secure; HttpOnly; SameSite=Lax${life}`
}

/**
 * The fields of a form that one of our own pages sent: the browser says that it comes from here (pages send no referrer,
 * so that Origin may be `null`; Sec-Fetch-Site is then what counts), and it carries the login's form token.
 */
export function formOf(request: FastifyRequest, url: string): Readonly<Record<string, string>> {
  const { origin, 'sec-fetch-site': site, cookie } = request.headers
  const own = new URL(url).origin
  const sameOrigin =
    (site === undefined || site === 'same-origin') &&
    (origin === undefined || origin === 'null' || origin === own) &&
    (site !== undefined || origin === own)
  const secret = cookie === undefined ? null : cookieOf(request, sessionCookie)
  const fields: Record<string, string> = {}
  if (typeof request.body === 'object' && request.body !== null) {
    for (const [name, value] of Object.entries(request.body))
      if (typeof value === 'string') fields[name] = value
  }
  if (!sameOrigin || secret === null || !isFormToken(secret, fields['token'])) {
    throw new Refused(
      'denied',
      'the form was not sent by a page of this login',
      'open the page again, and send the form from there',
    )
  }
  return fields
}
