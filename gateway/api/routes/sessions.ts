import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import { findRecording, listLedgers } from '../../recording/files.ts'
import { notYours, requireOperator, scopeOf } from '../caller.ts'
import type { Routes } from '../parts.ts'
import { findSession, listSessions } from '../session-rows.ts'
import { limitOf, schemaOf, sessionId, sessionQuery, sessionView } from '../shapes.ts'

const byId = schemaOf(z.object({ id: sessionId }))
const idOf = (params: unknown): string => z.object({ id: sessionId }).parse(params).id
/** The head that the ledger in the answer holds, and the names of the files that it is made of, oldest first. */
const ledgerHeadHeader = 'hoop-ledger-head'
const ledgerFilesHeader = 'hoop-ledger-files'
const ledgerQuery = z.object({
  file: z
    .string()
    .optional()
    .describe('One of the files that `hoop-ledger-files` names; all of them, when absent'),
})
const NDJSON = 'application/x-ndjson; charset=utf-8'

/** What happened: sessions, their recordings, the ledger. */
export const sessionRoutes: Routes = (app, parts) => {
  app.get(
    '/api/v1/sessions',
    {
      schema: {
        summary: 'Sessions, newest first: all, or those of the caller and below',
        tags: ['sessions'],
        querystring: schemaOf(sessionQuery),
        response: { 200: schemaOf(z.array(sessionView), 'output') },
      },
    },
    async (request, reply) => {
      const within = scopeOf(await parts.caller(request, reply))
      const query = sessionQuery.parse(request.query)
      return listSessions(parts, { ...query, within, limit: limitOf(query) })
    },
  )

  app.get(
    '/api/v1/sessions/:id',
    {
      schema: {
        summary: 'One session',
        tags: ['sessions'],
        params: byId,
        response: { 200: schemaOf(sessionView, 'output') },
      },
    },
    async (request, reply) => {
      const within = scopeOf(await parts.caller(request, reply))
      const found = await findSession(parts, idOf(request.params), within)
      if (found === null) throw notYours('session', parts.config())
      return found.view
    },
  )

  app.get(
    '/api/v1/recordings/:id',
    {
      schema: {
        summary: 'The recording of a session, a record a line',
        tags: ['sessions'],
        params: byId,
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const within = scopeOf(await parts.caller(request, reply))
      const id = idOf(request.params)
      const found = await findSession(parts, id, within)
      // A child sees that its sessions were; what was said in them is for the job's root and for people.
      if (found === null || (within !== undefined && found.root !== within))
        throw notYours('session', parts.config())
      const path = await findRecording(parts.recordingsFolder, id)
      if (path === null) throw notYours('session', parts.config())
      return reply.type(NDJSON).send(createReadStream(path))
    },
  )

  app.get(
    '/api/v1/audit/ledger',
    {
      schema: {
        summary: "The gateway's own chain, oldest first: a chain for each of its files",
        tags: ['audit'],
        querystring: schemaOf(ledgerQuery),
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      requireOperator(await parts.caller(request, reply))
      // From memory, and before it is read: one that was cut back meanwhile does not hold it.
      reply.header(ledgerHeadHeader, parts.recordings.head)
      const all = await listLedgers(parts.recordingsFolder)
      reply.header(ledgerFilesHeader, all.join(' '))
      const { file } = ledgerQuery.parse(request.query)
      const files = file === undefined ? all : all.filter((name) => name === file)
      if (file !== undefined && files.length === 0)
        throw new Refused(
          'not_found',
          `the ledger has no file ${JSON.stringify(file)}`,
          `take one of ${all.join(', ')}`,
        )
      return reply.type(NDJSON).send(Readable.from(concatenate(parts.recordingsFolder, files)))
    },
  )
}

async function* concatenate(folder: string, files: readonly string[]): AsyncGenerator<Buffer> {
  for (const file of files) yield* createReadStream(join(folder, file))
}
