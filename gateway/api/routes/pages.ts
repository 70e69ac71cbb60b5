import { z } from 'zod'
import { notYours, scopeOf } from '../caller.ts'
import { findIdentity } from '../identity-rows.ts'
import { approvalPage, html, identityPage, sessionPage, signIn } from '../pages.ts'
import type { Routes } from '../parts.ts'
import { findSession, listSessions } from '../session-rows.ts'
import { approvalId, identityId, schemaOf, sessionId } from '../shapes.ts'

const SESSIONS_SHOWN = 200

/** The links that people get. What is there is shown only to those who may see it, and to others not even whether it exists. */
export const pageRoutes: Routes = (app, parts) => {
  const { approvals, store } = parts

  /** One kind of page: the terminal's commands for everybody, and for who may see it the body. */
  const page = (
    what: 'approval' | 'identity' | 'session',
    path: string,
    how: {
      readonly id: z.ZodString
      readonly commands: (id: string) => readonly string[]
      /** Null when there is none within `within`. */
      readonly body: (id: string, within: string | undefined) => Promise<string | null>
    },
  ): void => {
    const params = z.object({ id: how.id })
    app.get(
      path,
      {
        schema: {
          summary: `The page of ${what === 'session' ? 'a' : 'an'} ${what}`,
          tags: ['pages'],
          params: schemaOf(params),
          produces: ['text/html'],
        },
      },
      async (request, reply) => {
        const { id } = params.parse(request.params)
        const caller = await parts.caller(request, reply)
        if (caller.kind === 'nobody') return html(reply, signIn(...how.commands(id)))
        const body = await how.body(id, scopeOf(caller))
        if (body === null) throw notYours(what)
        return html(reply, body)
      },
    )
  }

  page('approval', '/approvals/:id', {
    id: approvalId,
    commands: (id) => [`hoop-access approvals show ${id}`, `hoop-access approvals approve ${id}`],
    async body(id, within) {
      const view = await approvals.show(id, within)
      return view === null ? null : approvalPage(view)
    },
  })

  page('session', '/sessions/:id', {
    id: sessionId,
    commands: (id) => [`hoop-access sessions show ${id}`, `hoop-access sessions replay ${id}`],
    async body(id, within) {
      const found = await findSession(parts, id, within)
      return found === null ? null : sessionPage(found.view)
    },
  })

  page('identity', '/identities/:id', {
    id: identityId,
    commands: (id) => [`hoop-access sessions list --identity ${id}`],
    async body(id, within) {
      const found = await findIdentity(store, id, within)
      if (found === null) return null
      return identityPage(found, await listSessions(parts, { within: id, limit: SESSIONS_SHOWN }))
    },
  })
}
