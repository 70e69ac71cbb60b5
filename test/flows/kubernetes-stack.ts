import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { RunningGateway } from '../../gateway/main.ts'
import { type KubernetesServer, startKubernetes } from '../servers/kubernetes.ts'
import {
  type GatewayStack,
  type Job,
  type OpenOptions,
  type Ran,
  type SeparateGateway,
  type Start,
  inProcess,
  run,
  separately,
  startGatewayStack,
  writeStages,
} from './gateway-stack.ts'

/** A gateway before a real API server, for one test file. */
export interface KubernetesStack<Gateway = RunningGateway> extends GatewayStack<Gateway> {
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

/** What stages are, as YAML below `stages:`, given the tokens of the cluster. */
type Stages = (tokens: KubernetesServer['tokens']) => string
type ClusterOptions = Parameters<typeof startKubernetes>[0]

/** Starts it, the gateway within this process. Connection `prod` leads to the cluster as its administrator, and so does `second`. */
export function startKubernetesStack(stages: Stages, options: ClusterOptions = {}): Promise<KubernetesStack> {
  return build(inProcess, stages, options)
}

/** Starts it, the gateway in a process of its own. */
export function startSeparateKubernetesStack(stages: Stages): Promise<KubernetesStack<SeparateGateway>> {
  return build(separately, stages, {})
}

async function build<Gateway>(
  how: Start<Gateway>,
  stages: Stages,
  options: ClusterOptions,
): Promise<KubernetesStack<Gateway>> {
  const cluster = await startKubernetes(options)
  const connection = (name: string): string =>
    `  ${name}: { type: kubernetes, url: "${cluster.url}", token: "${cluster.tokens.admin}", ca: { file: kube-ca.pem } }`
  const stack = await startGatewayStack(how, {
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
