import { sql } from 'kysely'
import { z } from 'zod'
import { selfAndBelow } from '../../approvals/rows.ts'
import type { ConnectionView, IdentityView } from '../../core/contract.ts'
import { type Identity, chainOf } from '../../core/identity.ts'
import type { Config } from '../../policy/schema.ts'
import { requireIdentity, scopeOf } from '../caller.ts'
import type { Routes } from '../parts.ts'
import { activityView, identityQuery, identityRow, identityView, limitOf, schemaOf } from '../shapes.ts'
import { listSessions } from '../session-rows.ts'

const ACTIVITY_CAP = 500

/** Who the caller is, what it and those below it did, and the identities there are. */
export const identityRoutes: Routes = (app, parts) => {
  const { config, url, identities, approvals, store } = parts
  const described = (summary: string, answer: z.ZodType, more: object = {}) => ({
    schema: { summary, tags: ['identity'], response: { 200: schemaOf(answer, 'output') }, ...more },
  })

  app.get('/api/v1/identity', described('The calling identity', identityView), async (request, reply) => {
    const identity = requireIdentity(await parts.caller(request, reply))
    return viewOf(identity, { config, url, renewableUntil: identities.renewableUntil(identity) })
  })

  app.get('/api/v1/identity/activity', described('What it did', activityView), async (request, reply) => {
    const { id } = requireIdentity(await parts.caller(request, reply))
    return {
      sessions: await listSessions(parts, { within: id, limit: ACTIVITY_CAP }),
      approvals: await approvals.list({ within: id, limit: ACTIVITY_CAP }),
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
      let rows = store.db.selectFrom('identities').selectAll()
      if (within !== undefined) rows = rows.where('id', 'in', selfAndBelow(within))
      if (query.before !== undefined) {
        rows = rows.where(
          sql<boolean>`(created_at, id) < (select created_at, id from identities where id = ${query.before})`,
        )
      }
      const found = await rows
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(limitOf(query))
        .execute()
      return found.map((row) => {
        const { issuer, claims } = originSchema.parse(JSON.parse(row.origin))
        return {
          id: row.id,
          parent: row.parent,
          stage: row.stage,
          created_at: iso(row.created_at),
          expires_at: iso(row.expires_at),
          revoked_at: row.revoked_at === null ? null : iso(row.revoked_at),
          revoked_why: row.revoked_why,
          issuer,
          claims,
        }
      })
    },
  )
}

const originSchema = z.object({ issuer: z.string(), claims: z.record(z.string(), z.string()) })

function viewOf(
  identity: Identity,
  { config, url, renewableUntil }: { config: Config; url: string; renewableUntil: number },
): IdentityView {
  return {
    id: identity.id,
    stage: identity.stage,
    chain: chainOf(identity).map(({ id, stage }) => ({ id, stage })),
    binding: identity.binding,
    expires_at: iso(identity.expiresAt),
    renewable_until: iso(renewableUntil),
    connections: [...identity.connections].flatMap(([name, operations]) => {
      const view = connectionOf(name, config, url)
      return view === null ? [] : [{ ...view, ...(operations !== null && { operations: [...operations] }) }]
    }),
  }
}

/** Where clients find a connection: at the gateway, never at the target. */
function connectionOf(name: string, config: Config, url: string): ConnectionView | null {
  const connection = config.connections[name]
  if (connection === undefined) return null
  const { hostname, port: given, protocol } = new URL(url)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const port = given === '' ? (protocol === 'http:' ? 80 : 443) : Number(given)
  const { ports } = config.gateway
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
      return { name, type: 'ssh', host, port: ports?.ssh ?? port }
    case 'kubernetes':
      return { name, type: 'kubernetes', host, port, url: `${url}/k8s/${name}` }
    case 'http':
      return { name, type: 'http', host, port, url: `${url}/http/${name}` }
  }
}

function iso(time: number): string {
  return new Date(time).toISOString()
}
