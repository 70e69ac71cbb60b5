import { Refused } from '../../core/errors.ts'
import type { Target } from '../../http-relay/target.ts'

/** A request as the API server understands it: RequestInfo of k8s.io/apiserver/pkg/endpoints/request. */
export type RequestInfo =
  | {
      readonly kind: 'resource'
      /** As in RBAC: get, list, watch, create, update, patch, delete, deletecollection. */
      readonly verb: string
      /** Empty for the core group. */
      readonly group: string
      readonly version: string
      /** Empty where the request is for none. */
      readonly namespace: string
      readonly resource: string
      /** Empty for the resource itself. */
      readonly subresource: string
      /** Empty for a collection. */
      readonly name: string
    }
  /** Anything else; the verb is the method in small letters. */
  | { readonly kind: 'path'; readonly verb: string; readonly path: string }

/** A request for a resource. */
export type ResourceInfo = RequestInfo & { readonly kind: 'resource' }

const verbs: Readonly<Record<string, string>> = {
  GET: 'get',
  HEAD: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
}
const namespaceSubresources = ['status', 'finalize']

/** Parameters that take part in what a request asks for: twice, they could be read in two ways. */
const telling = ['watch', 'fieldSelector', 'container', 'stdin', 'stdout', 'stderr', 'tty'] as const

/** Reads a request line as the API server does. Throws `Refused` on what it could read otherwise. */
export function readRequestInfo(method: string, { path, query }: Target): RequestInfo {
  const parameters = readQuery(query)
  const parts = path
    .split('/')
    .filter((part) => part !== '')
    .map((part) => decodeURIComponent(part))
  const [prefix = '', ...rest] = parts
  const grouped = prefix === 'apis'
  if (!(prefix === 'api' || grouped) || rest.length < (grouped ? 3 : 2))
    return { kind: 'path', verb: method.toLowerCase(), path }
  const [group, version = '', ...within] = grouped ? rest : ['', ...rest]
  const found = verbs[method]
  if (found === undefined)
    throw unreadable(`${method} is not a method that resources know`, 'use GET, POST, PUT, PATCH or DELETE')
  let verb = found
  let from = 0
  const special = within[0]
  if (special === 'proxy')
    throw unreadable('the /proxy/ prefix has long been removed', 'use the proxy subresource')
  if (special === 'watch') {
    if (within.length < 2) throw unreadable('/watch/ names nothing', 'name the resource to watch')
    verb = 'watch'
    from = 1
  }
  let namespace = ''
  if (within[from] === 'namespaces') {
    namespace = within[from + 1] ?? ''
    const next = within[from + 2]
    if (next !== undefined && !namespaceSubresources.includes(next)) from += 2
  }
  const [resource = '', named = '', subresource = ''] = within.slice(from)
  let name = named
  if (name === '' && verb === 'get') {
    verb = truth(parameters.get('watch')) ? 'watch' : 'list'
    name = nameSelected(parameters)
  }
  if (name === '' && verb === 'delete') verb = 'deletecollection'
  // What stands behind a prefix for watching is the server's own way of watching; a method that changes has none.
  if (verb === 'watch' && method !== 'GET') throw unreadable('only GET can watch', 'send GET')
  return { kind: 'resource', verb, group: group ?? '', version, namespace, resource, subresource, name }
}

/** The parameters of a query, refused where they would be read in two ways. */
export function readQuery(query: string): URLSearchParams {
  if (query.includes(';')) throw unreadable('its query holds a semicolon, which is ambiguous', 'escape it')
  // Go leaves out what it cannot unescape, and keeps bytes that are no UTF-8.
  try {
    decodeURIComponent(query)
  } catch {
    throw unreadable('its query holds escapes that are none', 'escape it as RFC 3986 has it')
  }
  const parameters = new URLSearchParams(query)
  for (const name of telling)
    if (parameters.getAll(name).length > 1)
      throw unreadable(`its query says ${name} more than once`, `say ${name} once`)
  return parameters
}

/** Booleans as the API server reads them: only absence, `0` and `false` are false. */
export function truth(value: string | null): boolean {
  return value !== null && value !== '0' && value.toLowerCase() !== 'false'
}

/**
 * The one name that a field selector lets through; empty unless all of the query is plain. The API server takes no name at all from a
 * query of which it cannot read one part (DecodeParameters of its ListOptions), and of two names the one that sorts first.
 */
function nameSelected(parameters: URLSearchParams): string {
  if ((parameters.get('labelSelector') ?? '') !== '') return ''
  const numbers = [...parameters.getAll('limit'), ...parameters.getAll('timeoutSeconds')]
  if (!numbers.every((number) => /^\d{1,15}$/.test(number))) return ''
  const terms = (parameters.get('fieldSelector') ?? '').split(',').filter((term) => term !== '')
  if (!terms.every((term) => /^[\w./-]+(?:!=|==?)[^=!\\]*$/.test(term))) return ''
  const names = terms.flatMap((term) => /^metadata\.name={1,2}([^=!/%]+)$/.exec(term)?.[1] ?? [])
  const [name = '', ...others] = names
  return others.length > 0 || name === '.' || name === '..' ? '' : name
}

function unreadable(why: string, next: string): Refused {
  return new Refused('invalid_request', `the request cannot be read in one way only: ${why}`, next)
}
