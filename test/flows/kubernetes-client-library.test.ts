import { PassThrough } from 'node:stream'
import {
  Attach,
  CoreV1Api,
  Exec,
  KubeConfig,
  PortForward,
  type V1ConfigMap,
  makeInformer,
} from '@kubernetes/client-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Kubelet, startKubelet } from '../fakes/kubelet.ts'
import { missingForKubernetes } from '../servers/kubernetes.ts'
import { told } from '../servers/programs.ts'
import { type KubernetesStack, anyone, startKubernetesStack } from './kubernetes-stack.ts'
import { eventually } from './stack.ts'

let kubelet: Kubelet
let stack: KubernetesStack
let config: KubeConfig

// The library as it is, with the kubeconfig that a job is given.
describe.skipIf(told(missingForKubernetes))('@kubernetes/client-node', () => {
  beforeAll(async () => {
    kubelet = await startKubelet()
    stack = await startKubernetesStack(
      () => `  all:
    ${anyone}
    grants:
      - { connection: prod, allow: [{ operations: ["*"] }] }
`,
    )
    await stack.cluster.pod('web', kubelet.port)
    const job = await stack.open('all')
    config = new KubeConfig()
    config.loadFromFile(job.env.KUBECONFIG ?? '')
  })
  afterAll(async () => {
    await stack?.close()
    await kubelet?.stop()
  })

  const core = (): CoreV1Api => config.makeApiClient(CoreV1Api)
  const namespace = 'default'

  test('lists and creates', async () => {
    await core().createNamespacedConfigMap({
      namespace,
      body: { metadata: { name: 'first' }, data: { a: 'b' } },
    })
    const { items } = await core().listNamespacedConfigMap({ namespace })
    expect(items.map(({ metadata }) => metadata?.name)).toContain('first')
    await core().createNamespacedSecret({
      namespace,
      body: { metadata: { name: 'door' }, stringData: { code: 'open-sesame-4711' } },
    })
    const { data } = await core().readNamespacedSecret({ namespace, name: 'door' })
    expect(Buffer.from(data?.code ?? '', 'base64').toString()).toBe('[redacted:secret]')
  })

  test('an informer hears of what is added, changed and deleted', async () => {
    const heard: string[] = []
    const informer = makeInformer<V1ConfigMap>(config, `/api/v1/namespaces/${namespace}/configmaps`, () =>
      core().listNamespacedConfigMap({ namespace }),
    )
    for (const what of ['add', 'update', 'delete'] as const)
      informer.on(what, ({ metadata }) => void heard.push(`${what} ${metadata?.name}`))
    informer.on('error', (error: unknown) => void heard.push(String(error)))
    await informer.start()
    const direct = '/api/v1/namespaces/default/configmaps'
    await eventually(async () => expect(heard).toContain('add first'))
    await stack.cluster.call('POST', direct, { metadata: { name: 'told' } })
    await eventually(async () => expect(heard).toContain('add told'))
    await stack.cluster.call('PATCH', `${direct}/told`, { data: { x: 'y' } }, 'application/merge-patch+json')
    await eventually(async () => expect(heard).toContain('update told'))
    await stack.cluster.call('DELETE', `${direct}/told`)
    await eventually(async () => expect(heard).toContain('delete told'))
    await informer.stop()
  })

  test('exec gives output and status', async () => {
    const out = new PassThrough()
    let text = ''
    out.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    const status = await new Promise<unknown>((resolve, reject) => {
      new Exec(config)
        .exec(
          'default',
          'web',
          'main',
          ['sh', '-c', 'echo hello; exit 4'],
          out,
          new PassThrough(),
          null,
          false,
          resolve,
        )
        .catch(reject)
    })
    await eventually(async () => expect(text).toBe('hello\n'))
    expect(status).toMatchObject({
      status: 'Failure',
      details: { causes: [{ reason: 'ExitCode', message: '4' }] },
    })
  })

  test('attach talks both ways, until the input ends', async () => {
    const out = new PassThrough()
    let text = ''
    out.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    const input = new PassThrough()
    const socket = await new Attach(config).attach('default', 'web', 'main', out, out, input, false)
    input.end('small\n')
    await eventually(async () => expect(text).toBe('SMALL\n'))
    socket.close()
  })

  test('its port-forward, which is of before the tunnel, is refused and never reaches the pod', async () => {
    const forward = new PortForward(config)
    const [out, input] = [new PassThrough(), new PassThrough()]
    await expect(forward.portForward('default', 'web', [80], out, null, input)).rejects.toThrow('400')
    expect(kubelet.seen).not.toContain('portForward')
  })
})
