import type { Meaning, Operation, Request } from '../../core/operation.ts'
import type { Target } from '../../http-relay/target.ts'
import type { RequestInfo, ResourceInfo } from './request-info.ts'
import { readQuery } from './request-info.ts'

/** What Secrets hold, as masks know it. */
export const secretValues = 'kubernetes.secrets.data'

/** Subresources that lead to something behind the API server, which a rule has to name. */
const through = ['exec', 'attach', 'portforward', 'proxy']
/** Subresources by which a program runs or a port opens: `create`, whichever method asks for them. */
const streams = ['exec', 'attach', 'portforward']
/** Resources that an update makes where they are not there yet (AllowCreateOnUpdate in the API server's registry). */
const madeByUpdate = new Set([
  'endpoints',
  'events',
  'services',
  'events.k8s.io/events',
  'limitranges',
  'coordination.k8s.io/leases',
  'coordination.k8s.io/leasecandidates',
  'node.k8s.io/runtimeclasses',
  'rbac.authorization.k8s.io/roles',
  'rbac.authorization.k8s.io/rolebindings',
  'rbac.authorization.k8s.io/clusterroles',
  'rbac.authorization.k8s.io/clusterrolebindings',
])
/** How a client finds out what there is and what it may do: Kubernetes' own system:discovery and system:basic-user. */
const selfReviews = new Set([
  'authorization.k8s.io/selfsubjectaccessreviews',
  'authorization.k8s.io/selfsubjectrulesreviews',
  'authentication.k8s.io/selfsubjectreviews',
])
const discovery =
  /^\/(?:api|apis|version|healthz|livez|readyz|openapi\/v[23](?:\/.*)?|api\/[^/]+|apis\/[^/]+(?:\/[^/]+)?)\/?$/

/** What is asked for beyond path and method. */
interface Asked {
  /** The content type of the body. */
  readonly type: string
  /** The port that a port-forward goes to, where it is known. */
  readonly port?: number
  /** The object's name in the body of a `create`, where it could be read. */
  readonly named?: string
  /** True where values of a Secret are compared or moved. */
  readonly probes?: boolean
  /** As `Operation` has it. */
  readonly dryRun?: Operation['dryRun']
}

/** `group/resource[/subresource]`, without the group for the core one. */
export function resourceOf({ group, resource, subresource }: ResourceInfo): string {
  return [group, resource, subresource].filter((part) => part !== '').join('/')
}

/** True where a request is for Secrets, of whatever API group: a server behind an aggregated API may show the same. */
export function isOfSecrets(info: RequestInfo): boolean {
  return info.kind === 'resource' && info.resource === 'secrets'
}

/** True where the request opens streams to a pod. */
export function isStream(info: RequestInfo): boolean {
  return info.kind === 'resource' && info.resource === 'pods' && streams.includes(info.subresource)
}

/** True where the request passes to a server behind the API server, whose answers are its own. */
export function isProxied(info: RequestInfo): boolean {
  return info.kind === 'resource' && info.subresource === 'proxy'
}

/** What a request does, for policy, with the words it is shown by. */
export function requestOf(method: string, target: Target, info: RequestInfo, asked: Asked): Request {
  const { path, query } = target
  const command = commandOf(info, query)
  const words = command === undefined || command === null ? '' : ` -- ${command.map(quoted).join(' ')}`
  const to = asked.port === undefined ? '' : ` port ${asked.port}`
  return {
    // The two forms of one stream, GET and POST, are the same request.
    text: isStream(info)
      ? `CONNECT ${path}${withoutCommand(query)}${words}${to}`
      : `${method} ${path}${query}`,
    parameters: [],
    meaning: meaningOf(operationsOf(info, asked, command), {
      relations: isOfSecrets(info) ? ['kubernetes.secrets'] : [],
      probes: isOfSecrets(info) && asked.probes === true ? [secretValues] : [],
    }),
  }
}

/** A meaning of operations alone. */
export function meaningOf(
  operations: readonly Operation[],
  more: Partial<Pick<Meaning, 'relations' | 'probes'>> = {},
): Meaning {
  return { operations, relations: [], results: [], probes: [], spans: [], parameters: [], ...more }
}

function operationsOf(info: RequestInfo, asked: Asked, command: Operation['command']): readonly Operation[] {
  if (info.kind === 'path') {
    const reads = ['get', 'head', 'options'].includes(info.verb)
    const implied = (info.verb === 'get' || info.verb === 'head') && discovery.test(info.path)
    return [
      {
        actions: [info.verb],
        resource: info.path,
        reads,
        ...(implied && { implied }),
        ...(asked.dryRun === null && { dryRun: null }),
      },
    ]
  }
  const resource = resourceOf(info)
  const verb = isStream(info) ? 'create' : info.verb
  const name = isProxied(info) ? bareName(info.name) : info.name || (asked.named ?? '')
  const { dryRun } = asked
  const operation = (action: string): Operation => ({
    actions: dryRun === true ? [action, 'dry-run'] : [action],
    resource,
    reads: ['get', 'list', 'watch'].includes(action) && !isProxied(info),
    ...(info.namespace !== '' && { namespace: info.namespace }),
    ...(name !== '' && { name }),
    ...(command !== undefined && { command }),
    ...(isStream(info) && info.subresource === 'portforward' && { port: asked.port ?? null }),
    ...(dryRun !== undefined && { dryRun }),
    ...(dryRun === true && isOfSecrets(info) && { guesses: true }),
    ...(through.includes(info.subresource) && { through: true }),
    ...(action === 'create' && selfReviews.has(resource) && { implied: true }),
  })
  return [verb, ...createsToo(verb, resource, info, asked)].map(operation)
}

/** A server-side apply, and some updates, make what is not there. */
function createsToo(
  verb: string,
  resource: string,
  { subresource }: ResourceInfo,
  { type }: Asked,
): string[] {
  if (verb === 'patch' && subresource === '' && type.startsWith('application/apply-patch')) return ['create']
  return verb === 'update' && madeByUpdate.has(resource) ? ['create'] : []
}

/** The command that an exec names: its words, or null where it may be any. */
function commandOf(info: RequestInfo, query: string): Operation['command'] {
  if (!isStream(info) || info.kind === 'path' || info.subresource === 'portforward') return undefined
  // What was started before can be anything.
  if (info.subresource === 'attach') return null
  const words = readQuery(query).getAll('command')
  return words.length === 0 ? null : words
}

function withoutCommand(query: string): string {
  const parameters = readQuery(query)
  parameters.delete('command')
  return parameters.size === 0 ? '' : `?${parameters.toString()}`
}

/** Shells that a word is shown for would read it as one. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

/** Proxies are named `[SCHEME:]NAME[:PORT]`: rules name what is behind all of them. */
function bareName(name: string): string {
  const parts = name.split(':')
  return (parts.length === 3 ? parts[1] : parts[0]) ?? name
}
