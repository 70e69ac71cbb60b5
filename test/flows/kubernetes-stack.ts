import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type KubernetesServer, startKubernetes } from '../servers/kubernetes.ts'
import {
  type GatewayStack,
  type Job,
  type OpenOptions,
  type Ran,
  inProcess,
  run,
  startGatewayStack,
  writeStages,
} from './gateway-stack.ts'

/** A gateway before a real API server, for one test file. */
export interface KubernetesStack extends GatewayStack {
  readonly cluster: KubernetesServer
  open(stage: string, options?: OpenOptions): Promise<KubernetesJob>
  /** kubectl past the gateway, as the cluster's administrator. */
  direct(...args: string[]): Promise<Ran>
}

export interface KubernetesJob extends Job {
  /** kubectl with the settings that the job was given. */
  kubectl(...args: string[]): Promise<Ran>
}

/** Who becomes a stage in these tests. */
export const anyone = 'subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]'

/**
 * Starts it. Connection `prod` leads to the cluster as its administrator, and so does `second`; `stages` is YAML below
 * `stages:`, given the tokens of the cluster.
 */
export async function startKubernetesStack(
  stages: (tokens: KubernetesServer['tokens']) => string,
  options: Parameters<typeof startKubernetes>[0] = {},
): Promise<KubernetesStack> {
  const cluster = await startKubernetes(options)
  const connection = (name: string): string =>
    `  ${name}: { type: kubernetes, url: "${cluster.url}", token: "${cluster.tokens.admin}", ca: { file: kube-ca.pem } }`
  const stack = await startGatewayStack(inProcess, {
    async configure(at) {
      await writeFile(join(at.folder, 'kube-ca.pem'), cluster.ca)
      const connections = [connection('prod'), connection('second')].join('\n')
      return writeStages({ ...at, connections, stages: stages(cluster.tokens) })
    },
    stop: () => cluster.stop(),
  })
  const past = join(stack.folder, 'direct.kubeconfig')
  await writeFile(past, JSON.stringify(directConfig(cluster, join(stack.folder, 'kube-ca.pem'))))
  const kubectl = (kubeconfig: string, cache: string, args: readonly string[]): Promise<Ran> =>
    run('kubectl', args, { KUBECONFIG: kubeconfig, KUBECACHEDIR: cache, KUBECTL_COMMAND_HEADERS: 'false' })
  return {
    ...stack,
    cluster,
    direct: (...args) => kubectl(past, join(stack.folder, 'kube-cache'), args),
    async open(stage, options) {
      const job = await stack.open(stage, options)
      return {
        ...job,
        kubectl: (...args) => kubectl(job.env.KUBECONFIG ?? '', join(job.home, 'kube-cache'), args),
      }
    },
  }
}

function directConfig(cluster: KubernetesServer, ca: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'direct', cluster: { server: cluster.url, 'certificate-authority': ca } }],
    users: [{ name: 'admin', user: { token: cluster.tokens.admin } }],
    contexts: [{ name: 'direct', context: { cluster: 'direct', user: 'admin' } }],
    'current-context': 'direct',
  }
}
