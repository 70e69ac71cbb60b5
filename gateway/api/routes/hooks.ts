import type { FastifyInstance } from 'fastify'
import { Refused } from '../../core/errors.ts'
import { networkOf } from '../../listener/admission.ts'
import { isFailedProof } from '../caller.ts'
import type { ApiParts } from '../parts.ts'

const BODY_CAP = 1024 * 1024

/** Signed webhooks: the raw bytes go to the hook, which verifies them before anything is read. */
export async function hooks(app: FastifyInstance, parts: ApiParts): Promise<void> {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: BODY_CAP }, (_, body, done) =>
    done(null, body),
  )
  for (const hook of parts.hooks ?? []) {
    app.post(
      `/hooks/${hook.name}`,
      {
        bodyLimit: BODY_CAP,
        schema: { summary: `Webhooks of ${hook.name}, signed`, tags: ['hooks'], security: [] },
      },
      async (request, reply) => {
        const headers: Record<string, string | undefined> = {}
        for (const [name, values = []] of Object.entries(request.raw.headersDistinct))
          if (values.length === 1) headers[name] = values[0]
        const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
        const network = networkOf(request.socket.remoteAddress ?? '')
        parts.failures.check(network)
        try {
          const answer = await hook.take({ headers, body })
          return reply.code(answer.status).send(answer.body)
        } catch (error) {
          if (error instanceof Refused && isFailedProof(error)) parts.failures.note(network)
          throw error
        }
      },
    )
  }
}
