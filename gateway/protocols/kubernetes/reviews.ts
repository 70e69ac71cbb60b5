import type { Operation } from '../../core/operation.ts'
import type { Session } from '../../core/protocol.ts'
import type { Answered } from '../../http-relay/dialect.ts'
import { memberOf } from './bodies.ts'
import { meaningOf } from './operations.ts'

/**
 * The answer to a SelfSubjectAccessReview (`kubectl auth can-i`) that policy alone gives: a denial. Null where the
 * cluster has to say it as well, for what it lets the gateway's own account do.
 */
export function reviewDenied(spec: unknown, session: Session): Answered | null {
  const refused = session.check(meaningOf([reviewed(spec)]))
  if (refused === null) return null
  return {
    status: 201,
    headers: { 'content-type': 'application/json' },
    body: {
      kind: 'SelfSubjectAccessReview',
      apiVersion: 'authorization.k8s.io/v1',
      metadata: {},
      spec: spec ?? {},
      status: { allowed: false, reason: `hoop-access: ${refused.why}` },
    },
  }
}

/** The operation that a review asks about: whatever it leaves out may be anything. */
function reviewed(spec: unknown): Operation {
  const path = memberOf(spec, 'nonResourceAttributes')
  if (path !== undefined)
    return { actions: [text(path, 'verb') || '*'], resource: text(path, 'path'), reads: true }
  const asked = memberOf(spec, 'resourceAttributes')
  const subresource = text(asked, 'subresource')
  const resource = [text(asked, 'group'), text(asked, 'resource'), subresource]
  const namespace = text(asked, 'namespace')
  const name = text(asked, 'name')
  return {
    actions: [text(asked, 'verb') || '*'],
    resource: resource.filter((part) => part !== '').join('/'),
    ...(namespace !== '' && { namespace }),
    ...(name !== '' && { name }),
    ...((subresource === 'exec' || subresource === 'attach') && { command: null }),
    ...(['exec', 'attach', 'portforward', 'proxy'].includes(subresource) && { through: true }),
    reads: true,
  }
}

function text(value: unknown, name: string): string {
  const found = memberOf(value, name)
  return typeof found === 'string' ? found.slice(0, 256) : ''
}
