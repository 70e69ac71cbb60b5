import { jsonSchema } from '../../policy/json-schema.ts'
import { deviceGrant } from '../../login/device.ts'
import type { Routes } from '../parts.ts'

/** What anyone may know: metadata (RFC 8414), keys (RFC 7517), the CA, the schema of hoop.yaml, the OpenAPI document. */
export const discovery: Routes = (app, { url, keys, people }) => {
  const metadata = {
    issuer: url,
    token_endpoint: `${url}/oauth/token`,
    revocation_endpoint: `${url}/oauth/revoke`,
    jwks_uri: `${url}/.well-known/jwks.json`,
    response_types_supported: [],
    grant_types_supported: [
      'urn:ietf:params:oauth:grant-type:token-exchange',
      ...(people === null ? [] : [deviceGrant]),
    ],
    ...(people !== null && { device_authorization_endpoint: `${url}/oauth/device_authorization` }),
    token_endpoint_auth_methods_supported: ['none'],
    revocation_endpoint_auth_methods_supported: ['none'],
    dpop_signing_alg_values_supported: ['ES256'],
    tls_client_certificate_bound_access_tokens: true,
    service_documentation: `${url}/openapi.json`,
  }
  const schema = jsonSchema()
  const anyone = (summary: string) => ({ schema: { summary, tags: ['discovery'], security: [] } })
  app.get('/.well-known/oauth-authorization-server', anyone('Metadata (RFC 8414)'), () => metadata)
  app.get('/.well-known/jwks.json', anyone("The gateway's public keys (RFC 7517)"), () => keys.jwks)
  app.get('/schema/hoop.json', anyone('JSON Schema of hoop.yaml'), (_, reply) =>
    reply.type('application/schema+json').send(JSON.stringify(schema)),
  )
  app.get('/ca.pem', anyone("The CA of the gateway's certificate"), (_, reply) =>
    reply.type('application/x-pem-file').send(keys.caPem),
  )
  app.get('/openapi.json', anyone('This document'), () => app.swagger())
}
