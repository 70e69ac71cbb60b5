import formbody from '@fastify/formbody'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Refused, asRefused } from '../../core/errors.ts'
import { networkOf } from '../../listener/admission.ts'
import { type Devices, DeviceRefused, deviceGrant } from '../../login/device.ts'
import { certificateOf, handshakeKeyOf, isFailedProof, singleHeader, urlOf } from '../caller.ts'
import type { ApiParts } from '../parts.ts'
import { oauthErrorOf } from '../problem.ts'
import { deviceAnswer, leaseAnswer, oauthError, schemaOf, terminalAnswer, tokenAnswer } from '../shapes.ts'

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
    form('Token exchange (RFC 8693), and the token of a terminal (RFC 8628)', {
      anyOf: [schemaOf(tokenAnswer, 'output'), schemaOf(terminalAnswer, 'output')],
    }),
    async (request, reply) => {
      const client = request.socket.remoteAddress ?? null
      const network = networkOf(client ?? '')
      try {
        parts.failures.check(network)
        const fields = formOf(request)
        if (fields['grant_type'] === deviceGrant) return await redeem(request, fields, parts)
        const answer = await parts.identities.exchange({
          form: fields,
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
        if (isFailedProof(refused) || refused.code === 'subject_mismatch' || isGuess(refused))
          parts.failures.note(network)
        if (!(refused instanceof DeviceRefused))
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

  app.post(
    '/oauth/device_authorization',
    form('Device authorization (RFC 8628): asks for the login of a person', schemaOf(deviceAnswer, 'output')),
    async (request) => {
      const network = networkOf(request.socket.remoteAddress ?? '')
      parts.failures.check(network)
      formOf(request)
      const { devices, thumbprint } = await prover(request, parts)
      return devices.ask(thumbprint, network)
    },
  )

  app.post('/oauth/revoke', form('Revocation (RFC 7009)', { type: 'null' }), async (request, reply) => {
    const token = tokenOf(request)
    // Who holds it may end it; a login's token has no dots, an identity's is a JWT.
    if (parts.people !== null && !token.includes('.')) await parts.people.logins.end(token)
    else await parts.identities.revoke(token)
    return reply.code(200).send()
  })
}

/** The desk of terminals, and the key that this one proves. */
async function prover(
  request: FastifyRequest,
  { people, url }: ApiParts,
): Promise<{ readonly devices: Devices; readonly thumbprint: string }> {
  if (people === null) {
    throw new Refused(
      'unsupported',
      'this gateway has no login for people',
      'have the people who run it add `console.login` to hoop.yaml',
    )
  }
  const dpop = singleHeader(request, 'dpop')
  if (dpop === null) {
    throw new Refused('invalid_proof', 'the terminal proves no key', 'send a DPoP proof (RFC 9449)')
  }
  const thumbprint = await people.prove({ dpop, method: request.method, url: urlOf(request, url) })
  return { devices: people.devices, thumbprint }
}

/** The login of a terminal that its person has let in. */
async function redeem(
  request: FastifyRequest,
  fields: Readonly<Record<string, unknown>>,
  parts: ApiParts,
): Promise<object> {
  const { devices, thumbprint } = await prover(request, parts)
  const { device_code: code } = fields
  if (typeof code !== 'string') {
    throw new Refused('invalid_request', 'device_code is missing', 'ask /oauth/device_authorization for one')
  }
  const { secret, expiresAt, shown } = await devices.redeem(code, thumbprint)
  return {
    access_token: secret,
    token_type: 'DPoP',
    expires_in: Math.floor((expiresAt - Date.now()) / 1000),
    person: shown,
  }
}

function isGuess(refused: Refused): boolean {
  return refused instanceof DeviceRefused && refused.oauth === 'invalid_grant'
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
