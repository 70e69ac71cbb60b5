import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missingForKubernetes } from '../servers/kubernetes.ts'
import { told } from '../servers/programs.ts'
import { run } from './gateway-stack.ts'
import { type KubernetesStack, anyone, startKubernetesStack } from './kubernetes-stack.ts'

let stack: KubernetesStack

const configMap = (name: string, more = ''): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: ${name}, namespace: default }\ndata: { a: "${more}b" }\n`

describe.skipIf(told(missingForKubernetes))('requests to a cluster that wait for people', () => {
  beforeAll(async () => {
    stack = await startKubernetesStack(
      () => `  careful:
    ${anyone}
    grants:
      - connection: prod
        allow:
          - { operations: [read], resources: [configmaps, secrets] }
          - { operations: [create], resources: [configmaps], names: [free], namespaces: [default] }
        approve:
          - { operations: [create], resources: [configmaps], names: [held], by: sre }
          - { operations: [create], resources: [secrets], by: sre }
          - { operations: [delete], resources: [configmaps], by: sre }
        deny: [{ operations: ["*"], resources: [configmaps], names: [never] }]
`,
    )
  })
  afterAll(() => stack?.close())

  test('each object of an apply is decided by itself', async () => {
    const job = await stack.open('careful')
    const path = join(stack.folder, 'many.yaml')
    await writeFile(path, ['free', 'never', 'held'].map((name) => configMap(name)).join('---\n'))
    const applying = job.kubectl('apply', '-f', path)
    const { id, statement, operations } = await stack.pending()
    expect(operations).toEqual([{ action: 'create', resource: 'configmaps' }])
    expect(statement).toContain('"name":"held"')
    expect((await stack.direct('get', 'cm', 'held')).code).toBe(1)
    await stack.operator('approvals', 'approve', id, '--reason', 'planned')
    const { code, out, err } = await applying
    expect(code).toBe(1)
    expect(out).toBe('configmap/free created\nconfigmap/held created\n')
    expect(err).toContain('rule careful/prod deny[0] forbids get on configmaps named never')
    expect((await stack.direct('get', 'cm', 'never')).code).toBe(1)
  })

  test('what is denied after all says so', async () => {
    const job = await stack.open('careful')
    const deleting = job.kubectl('delete', 'configmap', 'free')
    const { id } = await stack.pending()
    await stack.operator('approvals', 'deny', id, '--reason', 'not on a Friday')
    const { code, err } = await deleting
    expect(code).toBe(1)
    expect(err).toContain('not on a Friday')
    expect((await stack.direct('get', 'cm', 'free')).code).toBe(0)
  })

  test('a client that left and comes again with the same joins the same approval', async () => {
    const job = await stack.open('careful')
    const env = { KUBECONFIG: job.env.KUBECONFIG ?? '', KUBECACHEDIR: join(job.home, 'cache') }
    const leave = Promise.withResolvers<() => void>()
    const first = run('kubectl', ['delete', 'configmap', 'free'], env, (child) =>
      leave.resolve(() => child.kill('SIGKILL')),
    )
    const { id } = await stack.pending()
    ;(await leave.promise)()
    await first
    const again = job.kubectl('delete', 'configmap', 'free')
    await new Promise((resolve) => setTimeout(resolve, 1000))
    expect((await stack.pending()).id).toBe(id)
    await stack.operator('approvals', 'approve', id, '--reason', 'fine')
    expect((await again).out).toContain('configmap "free" deleted')
  })

  test('people are shown a Secret without its values, and what they approve is what is sent', async () => {
    const job = await stack.open('careful')
    const path = join(stack.folder, 'door.yaml')
    await writeFile(
      path,
      'apiVersion: v1\nkind: Secret\nmetadata: { name: door, namespace: default }\nstringData: { code: open-sesame-4711 }\n',
    )
    for (const args of [
      ['create', '-f', path],
      ['create', 'secret', 'generic', 'made', '--from-literal=code=open-sesame-4711'],
    ]) {
      const creating = job.kubectl(...args)
      const { id, statement } = await stack.pending()
      expect(statement).toContain('/api/v1/namespaces/default/secrets')
      expect(statement).not.toMatch(/open-sesame|b3Blbi1zZXNhbWU/)
      await stack.operator('approvals', 'approve', id, '--reason', 'fine')
      expect((await creating).out).toContain('created')
    }
    const { out } = await stack.direct('get', 'secret', 'door', '-o', 'jsonpath={.data.code}')
    expect(Buffer.from(out, 'base64').toString()).toBe('open-sesame-4711')
    expect(await stack.recorded('open-sesame')).toEqual([])
    expect(await stack.recorded(Buffer.from('open-sesame-4711').toString('base64').slice(0, 12))).toEqual([])
  })
})
