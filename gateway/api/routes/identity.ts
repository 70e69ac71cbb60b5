import { z } from 'zod'
import type { ConnectionView, IdentityView } from '../../core/contract.ts'
import { type Identity, chainOf, enforcing } from '../../core/identity.ts'
import { notYours, requireIdentity, scopeOf } from '../caller.ts'
import { findIdentity, listIdentities } from '../identity-rows.ts'
import type { ApiParts, Routes } from '../parts.ts'
import {
  activityView,
  identityId,
  identityQuery,
  identityRow,
  identityView,
  limitOf,
  schemaOf,
} from '../shapes.ts'
import { listSessions } from '../session-rows.ts'

const ACTIVITY_CAP = 500

/** Who the caller is, what it and those below it did, and the identities there are. */
export const identityRoutes: Routes = (app, parts) => {
  const { identities, approvals, store } = parts
  const described = (summary: string, answer: z.ZodType, more: object = {}) => ({
    schema: { summary, tags: ['identity'], response: { 200: schemaOf(answer, 'output') }, ...more },
  })

  app.get('/api/v1/identity', described('The calling identity', identityView), async (request, reply) => {
    const identity = requireIdentity(await parts.caller(request, reply))
    return viewOf(identity, { ...parts, renewableUntil: identities.renewableUntil(identity) })
  })

  app.get('/api/v1/identity/activity', described('What it did', activityView), async (request, reply) => {
    const { id, auditOnly } = requireIdentity(await parts.caller(request, reply))
    return {
      sessions: await listSessions(parts, { within: id, limit: ACTIVITY_CAP }),
      approvals: await approvals.list({ within: id, limit: ACTIVITY_CAP }),
      ...(auditOnly && { observed: [...parts.observations.of(id)] }),
    }
  })

  app.get(
    '/api/v1/identities',
    described('Identities, newest first: all, or the caller and those below it', z.array(identityRow), {
      querystring: schemaOf(identityQuery),
    }),
    async (request, reply) => {
      const within = scopeOf(await parts.caller(request, reply))
      const query = identityQuery.parse(request.query)
      return listIdentities(store, { within, before: query.before, limit: limitOf(query) })
    },
  )

  app.get(
    '/api/v1/identities/:id',
    described('One identity', identityRow, { params: schemaOf(z.object({ id: identityId })) }),
    async (request, reply) => {
      const within = scopeOf(await parts.caller(request, reply))
      const { id } = z.object({ id: identityId }).parse(request.params)
      const found = await findIdentity(store, id, within)
      if (found === null) throw notYours('identity', parts.config())
      return found
    },
  )
}

function viewOf(
  identity: Identity,
  parts: Pick<ApiParts, 'config' | 'url' | 'sshHostKey'> & { renewableUntil: number },
): IdentityView {
  return {
    id: identity.id,
    stage: identity.stage,
    chain: chainOf(identity).map(({ id, stage }) => ({ id, stage })),
    binding: identity.binding,
    expires_at: iso(identity.expiresAt),
    renewable_until: iso(parts.renewableUntil),
    ...(identity.auditOnly && { audit_only: true }),
    connections: [...enforcing(identity).connections].flatMap(([name, operations]) => {
      const view = connectionOf(name, parts)
      return view === null ? [] : [{ ...view, ...(operations !== null && { operations: [...operations] }) }]
    }),
  }
}

/** Where clients find a connection: at the gateway, never at the target. */
function connectionOf(
  name: string,
  { config, url, sshHostKey }: Pick<ApiParts, 'config' | 'url' | 'sshHostKey'>,
): ConnectionView | null {
  const { connections, gateway } = config()
  const connection = connections[name]
  if (connection === undefined) return null
  const { hostname, port: given, protocol } = new URL(url)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const port = given === '' ? (protocol === 'http:' ? 80 : 443) : Number(given)
  const { ports } = gateway
  switch (connection.type) {
    case 'postgres':
      return {
        name,
        type: 'postgres',
        host,
        port: ports?.postgres ?? port,
        databases: [...new Set([connection.database, ...(connection.databases ?? [])])],
      }
    case 'ssh':
      return {
        name,
        type: 'ssh',
        host,
        port: ports?.ssh ?? port,
        ...(sshHostKey !== undefined && { host_key: sshHostKey }),
      }
    case 'kubernetes':
      return { name, type: 'kubernetes', host, port, url: `${url}/k8s/${name}` }
    case 'http':
      return { name, type: 'http', host, port, url: `${url}/http/${name}` }
  }
}

function iso(time: number): string {
  return new Date(time).toISOString()
}
