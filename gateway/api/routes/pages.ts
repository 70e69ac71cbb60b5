import formbody from '@fastify/formbody'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { type Asset, icon, script, style } from '../../console/assets.ts'
import { refusalPage } from '../../console/login-pages.ts'
import { frontPage, identityPage, sessionPage } from '../../console/record-pages.ts'
import { asRefused } from '../../core/errors.ts'
import { notYours, scopeOf } from '../caller.ts'
import { findIdentity } from '../identity-rows.ts'
import { pageOf, send, signIn } from '../pages.ts'
import type { ApiParts } from '../parts.ts'
import { problemOf } from '../problem.ts'
import { findSession, listSessions } from '../session-rows.ts'
import { identityId, sessionId } from '../shapes.ts'
import { visitorOf } from '../visitor.ts'
import { approvalPages } from './approval-pages.ts'
import { loginPages } from './login.ts'

const SESSIONS_SHOWN = 200
const FORM_CAP = 16_384

/** What browsers may do on our pages: load our style, script and icon, ask us, send forms to us; nothing inline, no frames. */
const policy =
  "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"

/** Pages for people. What is there is shown only to those who may see it, and to others not even whether it exists. */
export async function pages(app: FastifyInstance, parts: ApiParts): Promise<void> {
  app.removeAllContentTypeParsers()
  await app.register(formbody, { bodyLimit: FORM_CAP })
  app.addHook('onRequest', async (_, reply) => {
    reply.headers({
      'content-security-policy': policy,
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
      'permissions-policy': 'camera=(), geolocation=(), microphone=()',
    })
  })
  app.setErrorHandler(async (error, request, reply) => {
    const { status, headers, body } = problemOf(error)
    if (status === 500) parts.log.error({ err: error, route: request.routeOptions.url }, 'request failed')
    if (request.headers.accept?.includes('text/html') !== true)
      return reply.code(status).headers(headers).send(body)
    const reader = await visitorOf(request, reply, parts).then(
      (visitor) => visitor.reader,
      () => null,
    )
    return send(reply.code(status), refusalPage(asRefused(error), reader))
  })

  for (const asset of [style, script, icon]) serve(app, asset)

  app.get(
    '/',
    { schema: { summary: 'What this is', tags: ['pages'], security: [] } },
    async (request, reply) => {
      const { reader } = await visitorOf(request, reply, parts)
      return send(reply, frontPage(parts.url, parts.people !== null, reader))
    },
  )

  app.get(
    '/sessions/:id',
    pageOf('The page of a session', z.object({ id: sessionId })),
    async (request, reply) => {
      const { id } = z.object({ id: sessionId }).parse(request.params)
      const { caller, reader } = await visitorOf(request, reply, parts)
      if (caller.kind === 'nobody') {
        return signIn(reply, parts, `/sessions/${id}`, [
          `hoop-access sessions show ${id}`,
          `hoop-access sessions replay ${id}`,
        ])
      }
      const found = await findSession(parts, id, scopeOf(caller))
      if (found === null) throw notYours('session', parts.config())
      return send(reply, sessionPage(found.view, reader))
    },
  )

  app.get(
    '/identities/:id',
    pageOf('The page of an identity', z.object({ id: identityId })),
    async (request, reply) => {
      const { id } = z.object({ id: identityId }).parse(request.params)
      const { caller, reader } = await visitorOf(request, reply, parts)
      if (caller.kind === 'nobody')
        return signIn(reply, parts, `/identities/${id}`, [`hoop-access sessions list --identity ${id}`])
      const found = await findIdentity(parts.store, id, scopeOf(caller))
      if (found === null) throw notYours('identity', parts.config())
      const sessions = await listSessions(parts, { within: id, limit: SESSIONS_SHOWN })
      return send(reply, identityPage(found, sessions, reader))
    },
  )

  approvalPages(app, parts)
  if (parts.people !== null) loginPages(app, parts, parts.people)
}

function serve(app: FastifyInstance, { path, type, body }: Asset): void {
  app.get(path, { schema: { hide: true } }, (_, reply) =>
    reply.type(type).header('cache-control', 'public, max-age=31536000, immutable').send(body),
  )
}
