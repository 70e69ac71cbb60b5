import { STATUS_CODES, type Server, createServer } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import swagger from '@fastify/swagger'
import { type FastifyInstance, type FastifyRequest, fastify } from 'fastify'
import { Refused } from '../core/errors.ts'
import type { Identity } from '../core/identity.ts'
import { answerBySelf } from '../http-relay/exchange.ts'
import type { HttpRequest } from '../http-relay/message.ts'
import { type Caller, callerOf, recognised, requireIdentity } from './caller.ts'
import { Failures } from './failures.ts'
import { Http2Connections } from './http2.ts'
import { createMetrics } from './metrics.ts'
import type { ApiOptions, ApiParts, DataPath } from './parts.ts'
import { WrongMethod, oauthErrorOf, problemOf } from './problem.ts'
import { approvalRoutes } from './routes/approvals.ts'
import { discovery } from './routes/discovery.ts'
import { hooks } from './routes/hooks.ts'
import { identityRoutes } from './routes/identity.ts'
import { jobFileRoutes } from './routes/job-files.ts'
import { oauth } from './routes/oauth.ts'
import { pages } from './routes/pages.ts'
import { probes } from './routes/probes.ts'
import { sessionRoutes } from './routes/sessions.ts'

/** The gateway's HTTP interface. */
export interface Api {
  /** Serves a client that the listener did TLS with. */
  take(socket: TLSSocket): void
  /** For tests that need no socket. */
  readonly inject: FastifyInstance['inject']
  /** Answers what runs, and lets no connection live on. */
  drain(): void
  close(): Promise<void>
}

const BODY_CAP = 65_536
const HEADER_CAP = 16_384
const HEADERS_MS = 10_000
const REQUEST_MS = 30_000
const IDLE_MS = 30_000

/** Makes the interface; it listens nowhere by itself. */
export async function createApi(options: ApiOptions): Promise<Api> {
  const url = options.config().gateway.url.replace(/\/+$/, '')
  const failures = new Failures()
  const known = new WeakMap<FastifyRequest, Promise<Caller>>()
  const { identities, keys } = options
  const people = options.people ?? null
  const recogniser = { identities, operatorToken: keys.operatorToken, url, failures, people }
  const parts: ApiParts = {
    ...options,
    url,
    failures,
    people,
    metrics: options.metrics ?? createMetrics(),
    caller: async (request, reply) => {
      let found = known.get(request)
      if (found === undefined) {
        found = callerOf(request.raw, recogniser)
        known.set(request, found)
      }
      const caller = await found
      if (caller.kind !== 'nobody') {
        options.settled?.(request.socket)
        reply.removeHeader('connection')
      }
      return caller
    },
  }
  let draining = false
  const identify = (request: HttpRequest): Identity | Promise<Identity> => {
    const known = recognised(request, identities)
    if (known !== null) return known
    return callerOf(request, recogniser).then((caller) => {
      const identity = requireIdentity(caller)
      options.settled?.(request.socket)
      return identity
    })
  }
  const { app, server, http2 } = await build(parts, () => draining, identify)
  return {
    take: (socket) => {
      if (socket.alpnProtocol === 'h2') http2.take(socket)
      else server.emit('connection', socket)
    },
    inject: app.inject.bind(app),
    drain: () => {
      draining = true
      http2.drain()
      server.closeIdleConnections()
    },
    close: async () => {
      draining = true
      http2.close()
      server.closeAllConnections()
      // Ends the timer that looks for slow clients; node says that a server which never listened is not running.
      server.close(() => undefined)
      await app.close()
    },
  }
}

async function build(
  parts: ApiParts,
  draining: () => boolean,
  identify: (request: HttpRequest) => Identity | Promise<Identity>,
): Promise<{ app: FastifyInstance; server: Server; http2: Http2Connections }> {
  const dataPath = ({ url = '' }: HttpRequest): DataPath | undefined =>
    parts.dataPaths?.find(({ prefix }) => url.startsWith(`${prefix}/`))
  const server = createServer({
    maxHeaderSize: HEADER_CAP,
    headersTimeout: HEADERS_MS,
    // What goes through to a connection may take long; `limitTime` is for the rest.
    requestTimeout: 0,
    keepAliveTimeout: IDLE_MS,
    connectionsCheckingInterval: 2000,
    // Any other upgrade is a request like any other, which its path refuses.
    shouldUpgradeCallback: (request) =>
      request.method === 'GET' &&
      request.headers.upgrade?.toLowerCase() === 'websocket' &&
      dataPath(request) !== undefined,
  })
  server.on('upgrade', (request, _, head) =>
    dataPath(request)?.upgrade(request, head, () => identify(request)),
  )
  // Whoever asks first whether its body is wanted is told by what takes the request.
  server.on('checkContinue', (request, response) => {
    if (dataPath(request) === undefined) response.writeContinue()
    server.emit('request', request, response)
  })
  const http2 = new Http2Connections({
    serve(request, response) {
      const path = dataPath(request)
      if (path !== undefined) return path.take(request, response, () => identify(request))
      for (const message of [request, response]) message.on('error', () => undefined)
      if (request.headers.expect !== undefined) response.writeContinue()
      server.emit('request', request, response)
    },
    refuse(response, fault) {
      const refused = new Refused('invalid_request', fault, 'send a request as RFC 9113 has it')
      response.shouldKeepAlive = false
      answerBySelf(response, problemOf(refused))
    },
    log: parts.log,
  })
  // Node starts the watch over slow clients when a server listens; this one is given its sockets.
  server.emit('listening')
  const app = fastify({
    serverFactory: (handler) =>
      server.on('request', (request, response) => {
        const path = dataPath(request)
        if (path !== undefined) return path.take(request, response, () => identify(request))
        limitTime(request, (late) => {
          // Others are on the same connection of HTTP/2: they go on, and it takes no more of them.
          if (request.httpVersionMajor === 2) {
            response.shouldKeepAlive = false
            request.destroy(late)
          } else server.emit('clientError', late, request.socket)
        })
        handler(request, response)
      }),
    bodyLimit: BODY_CAP,
    routerOptions: { maxParamLength: 64, caseSensitive: true, ignoreTrailingSlash: false },
    // What the schema does not have is refused, not changed.
    ajv: {
      customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true, allErrors: false },
    },
    clientErrorHandler,
    forceCloseConnections: true,
  })
  answerInOneWay(app, parts, draining)
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Hoop Access',
        version: '1',
        description:
          'The HTTP interface of a Hoop Access gateway. An identity may also show its client certificate in the TLS handshake, and nothing else.',
      },
      servers: [{ url: parts.url }],
      components: {
        securitySchemes: {
          operator: { type: 'http', scheme: 'bearer' },
          dpop: { type: 'http', scheme: 'DPoP' },
        },
      },
      security: [{ operator: [] }, { dpop: [] }],
    },
  })
  await app.register((scope) => oauth(scope, parts))
  await app.register((scope) => hooks(scope, parts))
  await app.register((scope) => pages(scope, parts))
  await app.register((scope, _, done) => {
    for (const routes of [discovery, jobFileRoutes, identityRoutes, approvalRoutes, sessionRoutes, probes])
      routes(scope, parts)
    done()
  })
  await app.ready()
  return { app, server, http2 }
}

/** Ends a request whose body does not arrive in time, as node would. */
function limitTime(request: HttpRequest, end: (late: Error) => void): void {
  const timer = setTimeout(
    () => end(Object.assign(new Error('the request took too long'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' })),
    REQUEST_MS,
  )
  for (const over of ['end', 'close']) request.once(over, () => clearTimeout(timer))
}

const headers = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
}

function answerInOneWay(app: FastifyInstance, parts: ApiParts, draining: () => boolean): void {
  const { log } = parts
  app.addHook('onRequest', async (request, reply) => {
    // Until the client says who it is, its connection is good for one request; who proved it changes this.
    reply.headers({ ...headers, connection: 'close' })
    // A proxy's absolute form (RFC 9112 §3.2.2) names a host beside Host; two names for one thing are one too many.
    if (!/^\/(?!\/)/.test(request.url)) {
      throw new Refused('invalid_request', 'the request target is not a path', 'begin it with one slash')
    }
  })
  app.addHook('onSend', async (_, reply) => {
    if (draining()) reply.header('connection', 'close')
  })
  app.addHook('onResponse', async (request, reply) => {
    // The route, never the URL: what clients put into it is theirs.
    const { url: route, method } = request.routeOptions
    const client = request.socket.remoteAddress
    log.debug(
      { method, route, status: reply.statusCode, ms: Math.round(reply.elapsedTime), client },
      'request',
    )
  })
  app.setErrorHandler((error, request, reply) => {
    const { status, headers: extra, body } = problemOf(error)
    if (status === 500) log.error({ err: error, route: request.routeOptions.url }, 'request failed')
    return reply.code(status).headers(extra).send(body)
  })
  app.setNotFoundHandler((request, reply) => {
    const url = request.url.replace(/\?.*/s, '')
    const allowed = methods.filter((method) => app.hasRoute({ method, url }))
    if (allowed.length === 0)
      throw new Refused('not_found', 'there is nothing at this path', 'see /openapi.json')
    const error = new WrongMethod(request.method, allowed)
    const {
      status,
      headers: extra,
      body,
    } = url.startsWith('/oauth/') ? oauthErrorOf(error) : problemOf(error)
    return reply.code(status).headers(extra).send(body)
  })
}

/** Those that `Allow` may name. */
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/** Answers what node could not parse as HTTP, and closes. */
function clientErrorHandler(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy()
  const status =
    error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400
  const body = JSON.stringify({
    type: 'about:blank',
    title: STATUS_CODES[status],
    status,
    code: status === 431 ? 'too_large' : status === 408 ? 'timed_out' : 'invalid_request',
    detail: 'this is not a request that the gateway reads',
    next: 'send a request as RFC 9112 has it',
  })
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}
