import type { ConnectionView } from '../gateway/core/contract.ts'
import type { Files } from './rewrite.ts'

/** A connection that kubectl can reach. */
type Cluster = ConnectionView & { url: string }

/** The clusters among an identity's connections. */
export function clustersOf(connections: readonly ConnectionView[]): readonly Cluster[] {
  return connections.filter(
    (connection): connection is Cluster => connection.type === 'kubernetes' && connection.url !== undefined,
  )
}

/**
 * A kubeconfig with one context for each cluster, named as the connection; the current one when there is only one.
 * JSON, which is YAML. Files are named, not copied, so that a renewal reaches programs that are running.
 */
export function kubeconfig(clusters: readonly Cluster[], files: Files): string {
  const [only, second] = clusters
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: clusters.map(({ name, url }) => ({
      name,
      cluster: { server: url, 'certificate-authority': files.ca },
    })),
    users: [
      { name: 'hoop-access', user: { 'client-certificate': files.certificate, 'client-key': files.key } },
    ],
    contexts: clusters.map(({ name }) => ({ name, context: { cluster: name, user: 'hoop-access' } })),
    ...(only !== undefined && second === undefined && { 'current-context': only.name }),
  }
  return `${JSON.stringify(config, null, 2)}\n`
}
