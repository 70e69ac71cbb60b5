import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { sql } from 'kysely'
import { requireOperator } from '../caller.ts'
import type { ApiParts, Routes } from '../parts.ts'

/** For orchestrators and Prometheus. */
export const probes: Routes = (app, parts) => {
  app.get('/healthz', { schema: { summary: 'The process answers', tags: ['probes'], security: [] } }, () => ({
    status: 'ok',
  }))
  app.get(
    '/readyz',
    { schema: { summary: 'New clients can be served', tags: ['probes'], security: [] } },
    async (_, reply) => {
      const checks = await readiness(parts)
      const ready = Object.values(checks).every((state) => state === 'ok')
      return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'unavailable', checks })
    },
  )
  app.get(
    '/metrics',
    { schema: { summary: 'Prometheus text, for the operator', tags: ['probes'], produces: ['text/plain'] } },
    async (request, reply) => {
      // No exception for loopback: behind a proxy everyone comes from there.
      requireOperator(await parts.caller(request, reply))
      return reply.type(parts.metrics.registry.contentType).send(await parts.metrics.registry.metrics())
    },
  )
}

type State = 'ok' | 'failed'

async function readiness(parts: ApiParts): Promise<Record<string, State>> {
  const settle = (work: Promise<unknown>): Promise<State> =>
    work.then(
      () => 'ok' as const,
      () => 'failed' as const,
    )
  const [store, recordings] = await Promise.all([
    settle(sql`select 1`.execute(parts.store.db)),
    settle(access(parts.recordingsFolder, constants.W_OK)),
  ])
  const stated = (good: boolean): State => (good ? 'ok' : 'failed')
  return {
    store,
    recordings: parts.recordings.writable ? recordings : 'failed',
    running: stated(!parts.sessions.draining),
    workers: stated(parts.workersReady?.() ?? true),
  }
}
