import formbody from '@fastify/formbody'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Refused, asRefused } from '../../core/errors.ts'
import { networkOf } from '../../listener/admission.ts'
import { certificateOf, handshakeKeyOf, isFailedProof, singleHeader, urlOf } from '../caller.ts'
import type { ApiParts } from '../parts.ts'
import { oauthErrorOf } from '../problem.ts'
import { leaseAnswer, oauthError, schemaOf, tokenAnswer } from '../shapes.ts'

const BODY_CAP = 65_536
const FORM = 'application/x-www-form-urlencoded'
const refusals = { '4xx': schemaOf(oauthError, 'output'), '5xx': schemaOf(oauthError, 'output') }

/** Token exchange (RFC 8693), revocation (RFC 7009) and leases: forms in, OAuth errors out. */
export async function oauth(app: FastifyInstance, parts: ApiParts): Promise<void> {
  app.removeAllContentTypeParsers()
  await app.register(formbody, { bodyLimit: BODY_CAP })
  app.setErrorHandler((error, request, reply) => {
    const { status, headers, body } = oauthErrorOf(error)
    if (status === 500) parts.log.error({ err: error, route: request.routeOptions.url }, 'request failed')
    return reply.code(status).headers(headers).send(body)
  })
  const form = (summary: string, answer: object) => ({
    bodyLimit: BODY_CAP,
    schema: {
      summary,
      tags: ['oauth'],
      security: [],
      consumes: [FORM],
      response: { 200: answer, ...refusals },
    },
  })

  app.post(
    '/oauth/token',
    form('Token exchange (RFC 8693)', schemaOf(tokenAnswer, 'output')),
    async (request, reply) => {
      const client = request.socket.remoteAddress ?? null
      const network = networkOf(client ?? '')
      try {
        parts.failures.check(network)
        const answer = await parts.identities.exchange({
          form: formOf(request),
          dpop: singleHeader(request, 'dpop'),
          method: request.method,
          url: urlOf(request, parts.url),
          clientCertificateDer: certificateOf(request),
          handshakeKey: handshakeKeyOf(request),
          client,
        })
        parts.metrics.exchange('issued')
        // The same connection goes on to ask for the settings of the new identity.
        parts.settled?.(request.socket)
        reply.removeHeader('connection')
        return answer
      } catch (error) {
        const refused = asRefused(error)
        if (isFailedProof(refused) || refused.code === 'subject_mismatch') parts.failures.note(network)
        parts.metrics.exchange(oauthErrorOf(error).status >= 500 ? 'unavailable' : 'refused')
        throw error
      }
    },
  )

  app.post(
    '/oauth/lease',
    form('Keeps an identity alive for whoever runs it', schemaOf(leaseAnswer, 'output')),
    async (request, reply) => {
      const network = networkOf(request.socket.remoteAddress ?? '')
      try {
        parts.failures.check(network)
        const next = await parts.identities.hold({
          token: tokenOf(request),
          dpop: singleHeader(request, 'dpop'),
          method: request.method,
          url: urlOf(request, parts.url),
          connection: request.socket,
          proved: () => {
            parts.settled?.(request.socket)
            reply.removeHeader('connection')
          },
        })
        return { expires_in: next / 1000 }
      } catch (error) {
        if (isFailedProof(asRefused(error))) parts.failures.note(network)
        throw error
      }
    },
  )

  app.post('/oauth/revoke', form('Revocation (RFC 7009)', { type: 'null' }), async (request, reply) => {
    await parts.identities.revoke(tokenOf(request))
    return reply.code(200).send()
  })
}

function tokenOf(request: FastifyRequest): string {
  const { token } = formOf(request)
  if (typeof token === 'string' && token !== '') return token
  throw new Refused(
    'invalid_request',
    'token is missing',
    'send the access token of the identity that is meant',
  )
}

/** The form's fields. RFC 6749 §3.2: none may come twice, known or not. */
function formOf(request: FastifyRequest): Readonly<Record<string, unknown>> {
  const { body } = request
  if (typeof body !== 'object' || body === null) {
    throw new Refused('invalid_request', 'the body is not a form', `send it as ${FORM}`)
  }
  const form: Record<string, unknown> = { ...body }
  for (const [name, value] of Object.entries(form)) {
    if (typeof value !== 'string')
      throw new Refused(
        'invalid_request',
        `${name.slice(0, 64)} came more than once`,
        'send every field once',
      )
  }
  return form
}
