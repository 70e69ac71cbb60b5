import type { FastifyReply } from 'fastify'
import type { z } from 'zod'
import { signInPage } from '../console/login-pages.ts'
import type { ApiParts } from './parts.ts'
import { schemaOf } from './shapes.ts'

/** The schema of a page. */
export function pageOf(summary: string, params?: z.ZodType): { schema: object } {
  return {
    schema: {
      summary,
      tags: ['pages'],
      produces: ['text/html'],
      ...(params !== undefined && { params: schemaOf(params) }),
    },
  }
}

/** Sends a page. */
export function send(reply: FastifyReply, page: string): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(page)
}

/** Has somebody log in who did not say who they are, and brings them back to `path`. */
export function signIn(
  reply: FastifyReply,
  parts: Pick<ApiParts, 'people'>,
  path: string,
  commands: readonly string[],
): FastifyReply {
  const login = parts.people === null ? null : `/login?to=${encodeURIComponent(path)}`
  return send(reply, signInPage({ login, commands }))
}
