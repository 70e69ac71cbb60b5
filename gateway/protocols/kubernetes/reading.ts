import { Refused } from '../../core/errors.ts'
import type { Operation, Request } from '../../core/operation.ts'
import type { Session } from '../../core/protocol.ts'
import type { Reading } from '../../http-relay/dialect.ts'
import { valuesOf } from '../../http-relay/headers.ts'
import type { HttpRequest } from '../../http-relay/message.ts'
import type { Target } from '../../http-relay/target.ts'
import { acceptOf, isUnread } from './accept.ts'
import { BODY_CAP, movesValues, readBody, refuseMasked } from './bodies.ts'
import { readDryRun } from './dry-run.ts'
import { isOfSecrets, isProxied, isStream, requestOf, secretValues } from './operations.ts'
import type { RefusedStreams } from './refused-streams.ts'
import { type RequestInfo, type ResourceInfo, readQuery, readRequestInfo } from './request-info.ts'
import { reviewDenied } from './reviews.ts'
import { hideText, maskSecrets, showSecret } from './secrets.ts'
import { streamOf } from './streams.ts'

const nothing = Buffer.alloc(0)
/** What the API server's audit log calls a request: it takes the word of whoever sends it, so that a client could name another's. */
const auditId = 'audit-id'

/** Who asks, and what is known of it. */
interface Asking {
  readonly session: Session
  /** The identity and the connection. */
  readonly who: string
  readonly refused: RefusedStreams
}

/** What a request to a cluster asks for, and how it and its answer are carried. Throws `Refused`. */
export function readKubernetes(message: HttpRequest, target: Target, asking: Asking): Reading {
  const { session } = asking
  const { method = '' } = message
  if (!['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].includes(method))
    throw new Refused(
      'unsupported',
      `the method ${method.slice(0, 32)} is not carried`,
      'use one of Kubernetes',
    )
  // Without it the request would be what the gateway's own account may do: more, mostly, than was asked for.
  if (Object.keys(message.headers).some((name) => name.startsWith('impersonate-')))
    throw new Refused(
      'unsupported',
      'a client cannot impersonate: who the gateway is to the cluster stands in its policy',
      'send it without (kubectl --as, --as-group)',
    )
  const info = readRequestInfo(method, target)
  const [type = '', ...types] = valuesOf(message.rawHeaders, 'content-type').map((one) => one.toLowerCase())
  if (types.length > 0)
    throw new Refused('protocol_violation', 'it says twice of what form its body is', 'say it once')
  const dryRunOf = (body: Buffer): Operation['dryRun'] =>
    readDryRun(info, target, { body, type, vouched: vouchedBy(session) })
  const asked = { type, dryRun: dryRunOf(nothing) }
  const request = requestOf(method, target, info, asked)
  if (info.kind === 'resource' && isStream(info)) {
    const requestFor = (port: number): Request => requestOf(method, target, info, { ...asked, port })
    return streamReading({ message, info, request, requestFor }, asking)
  }
  if (message.headers.upgrade !== undefined) throw notCarried('an upgrade of this', 'send it without')
  if (cutsLogs(info, target))
    throw new Refused(
      'invalid_request',
      'limitBytes could cut a secret in two, and neither half would be found',
      'use lines or time: kubectl logs --tail or --since',
    )
  const carried = carriage(message, info)
  if (info.kind === 'path' || ['get', 'list', 'watch'].includes(info.verb) || isProxied(info))
    return { ...carried, request }
  if (message.headers['content-encoding'] !== undefined)
    throw new Refused('unsupported_type', 'a compressed body is not carried', 'send it as it is')
  return {
    ...carried,
    request,
    body: {
      cap: BODY_CAP,
      read(body) {
        refuseMasked(body)
        const { name, review, json, show } = readBody(body, type)
        const read = requestOf(method, target, info, {
          type,
          probes: movesValues(json, type),
          dryRun: dryRunOf(body),
          ...(name !== undefined && info.verb === 'create' && { named: name }),
        })
        const denied = info.resource === 'selfsubjectaccessreviews' ? reviewDenied(review, session) : null
        return {
          ...(show !== undefined && { show }),
          ...carried,
          request: isOfSecrets(info) || show !== undefined ? hideParameter(read) : read,
          ...(denied !== null && { answer: denied }),
        }
      },
    },
  }
}

/** The API groups whose server keeps to `dryRun`, beside Kubernetes' own. */
function vouchedBy({ config }: Session): readonly string[] {
  return (config.type === 'kubernetes' ? config.dry_run_groups : undefined) ?? []
}

/** True for logs, also by a kubelet's own API, of which a number of bytes is asked for. */
function cutsLogs(info: RequestInfo, { query }: Target): boolean {
  if (info.kind === 'path' || !(info.subresource === 'log' || (isProxied(info) && info.resource === 'nodes')))
    return false
  return readQuery(query).has('limitBytes')
}

/** What of a request changes on its way, and what of its answer. */
function carriage(message: HttpRequest, info: RequestInfo): Omit<Reading, 'request'> {
  const accept = acceptOf(message.headers.accept, info)
  const ofSecrets = isOfSecrets(info)
  return {
    ...(accept !== null && { headers: new Map([['accept', accept]]) }),
    mark: auditId,
    ...(ofSecrets && { show: showSecret }),
    ...(info.verb === 'watch' && info.kind === 'resource' && { endless: true }),
    filter(permit, { status, type }, onMasked) {
      if (!isProxied(info) && isUnread(type, info)) throw unmaskable('in a form that is not read')
      if (!ofSecrets || permit.maskOf(secretValues) === null) return null
      if (/[/+]json\b/.test(type)) return maskSecrets(onMasked, status >= 400)
      if (status < 300 && status !== 204) throw unmaskable('in a form other than JSON')
      return hideText(onMasked)
    },
  }
}

/** exec, attach and port-forward, which WebSocket carries; SPDY, which older clients ask for, is named. */
function streamReading(
  {
    message,
    info,
    request,
    requestFor,
  }: {
    readonly message: HttpRequest
    readonly info: ResourceInfo
    readonly request: Request
    readonly requestFor: (port: number) => Request
  },
  { session, who, refused }: Asking,
): Reading {
  const stream = `${who} ${request.text}`
  if (message.method !== 'GET' || message.headers.upgrade?.toLowerCase() !== 'websocket') {
    // One decision for both forms: a denial is told as one. kubectl comes so, too, when its WebSocket was refused.
    const denied = session.check(request.meaning)
    if (denied !== null) return { request }
    const told = refused.take(stream)
    if (told !== null) throw told
    if (session.holds(request.meaning))
      throw new Refused(
        'approval_pending',
        'this waits for an approval when it is asked for by WebSocket, and SPDY is not carried',
        'repeat it with kubectl 1.30 or newer: it joins the approval that was asked for',
      )
    throw notCarried(
      `${info.subresource} over SPDY`,
      'use kubectl 1.30 or newer, or another client that speaks WebSocket (v5.channel.k8s.io, v4.channel.k8s.io); a newer kubectl comes to this when its WebSocket failed: kubectl -v=4 shows how',
    )
  }
  return {
    request,
    mark: auditId,
    tunnel: { ...streamOf(message, info, requestFor), failed: (why) => refused.keep(stream, why) },
  }
}

/** A body that is shown otherwise than it is: as itself it is a parameter that nobody sees but the digest. */
function hideParameter(request: Request): Request {
  return { ...request, meaning: { ...request.meaning, secretParameters: [0] } }
}

function unmaskable(how: string): Refused {
  return new Refused(
    'upstream_failed',
    `the cluster answered ${how}, so that it cannot be masked`,
    'ask the people who run the gateway to look at the cluster',
  )
}

function notCarried(what: string, next: string): Refused {
  return new Refused('unsupported', `${what} is not carried`, next)
}
