/**
 * API groups of Kubernetes itself, all of whose objects are kept by one registry, which stores nothing in a dry run (DryRunnableStorage of
 * k8s.io/apiserver). Not authentication and authorization, which answer questions, and no other `*.k8s.io`: metrics, say, come from
 * servers of their own.
 */
const keeping: ReadonlySet<string> = new Set([
  '',
  'admissionregistration.k8s.io',
  'apiextensions.k8s.io',
  'apiregistration.k8s.io',
  'apps',
  'autoscaling',
  'batch',
  'certificates.k8s.io',
  'coordination.k8s.io',
  'discovery.k8s.io',
  'events.k8s.io',
  'extensions',
  'flowcontrol.apiserver.k8s.io',
  'internal.apiserver.k8s.io',
  'networking.k8s.io',
  'node.k8s.io',
  'policy',
  'rbac.authorization.k8s.io',
  'resource.k8s.io',
  'scheduling.k8s.io',
  'storage.k8s.io',
  'storagemigration.k8s.io',
])

/** Verbs of Kubernetes that can be tried without changing anything. */
export const dryRunVerbs: readonly string[] = ['create', 'update', 'patch', 'delete', 'deletecollection']

/**
 * True when a dry run of a resource, `[group/]resource`, is sure to change nothing: an object of Kubernetes' own groups, or of one that the
 * connection vouches for. Never a subresource (tokens are issued, programs run, all the same), nor a path.
 */
export function keepsToDryRun(resource: string, vouched: readonly string[] = []): boolean {
  const [first = '', second, ...more] = resource.split('/')
  const [group, kind] = second === undefined ? ['', first] : [first, second]
  if (more.length > 0 || kind === '' || (group === '' && (second !== undefined || kind === 'bindings')))
    return false
  return keeping.has(group) || vouched.includes(group)
}
