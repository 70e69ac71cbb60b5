import type { RequestListener } from 'node:http'
import { type HttpStack, startHttpStack } from '../flows/http-stack.ts'

/** A gateway before a server that answers as a test wants, in place of a cluster: connections `cluster`, `second` and, with an empty token, `empty`. */
export function startAttackedCluster(options: {
  /** YAML below `grants:` of stage `test`. */
  grants: string
  upstream: RequestListener
}): Promise<HttpStack> {
  return startHttpStack({
    connections: (
      url,
    ) => `  cluster: { type: kubernetes, url: "${url}/cluster", token: cluster-secret-1234567890, ca: { file: api-ca.pem } }
  second: { type: kubernetes, url: "${url}/second", token: cluster-secret-1234567890, ca: { file: api-ca.pem } }
  empty: { type: kubernetes, url: "${url}/empty", token: " ", ca: { file: api-ca.pem } }`,
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
${options.grants}`,
    upstream: options.upstream,
  })
}
