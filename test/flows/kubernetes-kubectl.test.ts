import { readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missingForKubernetes } from '../servers/kubernetes.ts'
import { told } from '../servers/programs.ts'
import { type Ran, run } from './gateway-stack.ts'
import { type KubernetesJob, type KubernetesStack, anyone, startKubernetesStack } from './kubernetes-stack.ts'

let stack: KubernetesStack
let all: KubernetesJob

const manifests = `
apiVersion: v1
kind: ConfigMap
metadata: { name: settings, namespace: default }
data: { colour: green }
---
apiVersion: v1
kind: Secret
metadata: { name: door, namespace: default }
stringData: { code: open-sesame-4711 }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: shop, namespace: default }
spec:
  replicas: 1
  selector: { matchLabels: { app: shop } }
  template:
    metadata: { labels: { app: shop } }
    spec: { containers: [{ name: main, image: "shop:1" }] }
`

/** A second may pass between two questions. */
function ageless(ran: Ran): Ran {
  return { ...ran, out: ran.out.replaceAll(/\b\d+s\b/g, 'Ns') }
}

describe.skipIf(told(missingForKubernetes))('kubectl through the gateway', () => {
  beforeAll(async () => {
    stack = await startKubernetesStack(
      ({ nobody }) => `  all:
    ${anyone}
    grants:
      - { connection: prod, allow: [{ operations: ["*"] }] }
  reader:
    ${anyone}
    grants:
      - connection: prod
        allow: [{ operations: [read], resources: [configmaps, "apps/deployments"], namespaces: [default] }]
  clear:
    ${anyone}
    grants:
      - { connection: prod, allow: [{ operations: ["*"] }], unmask: [kubernetes-secrets] }
  nobody:
    ${anyone}
    grants:
      - { connection: prod, as: { token: "${nobody}" }, allow: [{ operations: ["*"] }] }
  other:
    ${anyone}
    grants:
      - { connection: prod, as: { impersonate: { user: alice, groups: ["system:masters", "people"] } }, allow: [{ operations: ["*"] }] }
  both:
    ${anyone}
    grants:
      - { connection: prod, allow: [{ operations: ["*"] }] }
      - { connection: second, allow: [{ operations: ["*"] }] }
`,
    )
    all = await stack.open('all')
    await writeFile(join(stack.folder, 'shop.yaml'), manifests)
  })
  afterAll(() => stack?.close())

  const file = (): string => join(stack.folder, 'shop.yaml')

  /** What the API says, asked for in a form of one's own. */
  async function ask(path: string, accept: string): Promise<string> {
    const [ca, cert, key] = await Promise.all(
      ['ca.pem', 'client.crt', 'client.key'].map((name) => readFile(join(all.home, name))),
    )
    return new Promise((resolve, reject) => {
      const options = { ca, cert, key, headers: { accept }, agent: false }
      const sent = request(`${stack.url}${path}`, options, (response) => resolve(text(response)))
      sent.once('error', reject).end()
    })
  }

  test('speaks HTTP/2, and HTTP/1.1 where it is told to', async () => {
    const kubectl = (env: Record<string, string>): Promise<Ran> =>
      run('kubectl', ['get', '--raw', '/k8s/prod/version'], {
        KUBECONFIG: all.env.KUBECONFIG ?? '',
        GODEBUG: 'http2debug=1',
        ...env,
      })
    const two = await kubectl({})
    expect(two).toMatchObject({ code: 0 })
    expect(two.err).toContain('http2: Transport received SETTINGS')
    // client-go's own switch.
    const one = await kubectl({ DISABLE_HTTP2: '1' })
    expect(one).toMatchObject({ code: 0, out: two.out })
    expect(one.err).not.toContain('http2: Transport')
  })

  test('apply makes what is not there, and then nothing more', async () => {
    const first = await all.kubectl('apply', '-f', file())
    expect(first).toMatchObject({ code: 0, err: '' })
    expect(first.out).toBe('configmap/settings created\nsecret/door created\ndeployment.apps/shop created\n')
    const again = await all.kubectl('apply', '-f', file())
    expect(again.out).toContain('configmap/settings unchanged')
    expect(again.out).toContain('deployment.apps/shop unchanged')
  })

  test.each([
    'version',
    'get namespaces',
    'get configmaps -o yaml',
    'get deployments -o wide',
    'get deploy,cm -A -o json',
    'get secrets',
    'get configmap settings -o jsonpath={.data.colour}',
    'get cm --field-selector metadata.name=settings',
    'describe deployment shop',
    'describe configmap settings',
    'api-resources',
    'api-versions',
    'explain deployment.spec.strategy',
    'auth can-i delete pods',
    'auth can-i --list',
    'rollout history deployment/shop',
    'get nothing',
    'get configmap missing',
    'wait --for=jsonpath={.data.colour}=green configmap/settings --timeout=30s',
  ])('%s says what it says without the gateway', async (line) => {
    const args = line.split(' ')
    const through = await all.kubectl(...args)
    expect(ageless(through)).toEqual(ageless(await stack.direct(...args)))
  })

  test('diff, patch, set, scale, label, rollout, create, replace and delete do what they say', async () => {
    const changed = join(stack.folder, 'changed.yaml')
    await writeFile(changed, manifests.replace('green', 'blue'))
    const side = join(stack.folder, 'side.yaml')
    await writeFile(side, 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: side }\ndata: { a: b }\n')
    const diff = await all.kubectl('diff', '-f', changed)
    expect(diff.code).toBe(1)
    expect(diff.out).toContain('-  colour: green\n+  colour: blue')
    const kubectl = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await all.kubectl(...args)
      expect({ code, err }).toEqual({ code: 0, err: '' })
      return out
    }
    await kubectl('patch', 'configmap', 'settings', '-p', '{"data":{"size":"9"}}')
    await kubectl(
      'patch',
      'configmap',
      'settings',
      '--type=json',
      '-p',
      '[{"op":"test","path":"/data/size","value":"9"}]',
    )
    await kubectl('scale', 'deployment/shop', '--replicas=2')
    await kubectl('set', 'image', 'deployment/shop', 'main=shop:2')
    await kubectl('label', 'configmap', 'settings', 'tier=front')
    await kubectl('rollout', 'restart', 'deployment/shop')
    await kubectl('create', 'deployment', 'side', '--image=side:1')
    await kubectl('create', 'secret', 'generic', 'made', '--from-literal=a=made-by-hand-12')
    await kubectl('apply', '--server-side', '--force-conflicts', '-f', side)
    await kubectl('apply', '--server-side', '-f', side, '--dry-run=server')
    const shown = 'jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image}'
    const seen = await kubectl('get', 'deploy', 'shop', '-o', shown)
    expect(seen).toBe('2 shop:2')
    await kubectl('delete', 'deployment', 'side')
    await kubectl('delete', 'configmap', '-l', 'tier=front')
    expect((await stack.direct('get', 'cm', 'settings')).code).toBe(1)
    await all.kubectl('apply', '-f', file())
  })

  test('rollout status and wait see what happens meanwhile', async () => {
    const waiting = all.kubectl(
      'wait',
      '--for=jsonpath={.metadata.labels.done}=yes',
      'configmap/settings',
      '--timeout=60s',
    )
    const rolling = all.kubectl('rollout', 'status', 'deployment/shop', '--timeout=60s')
    await new Promise((resolve) => setTimeout(resolve, 1500))
    await stack.direct('label', 'configmap', 'settings', 'done=yes')
    const generation = Number(
      (await stack.direct('get', 'deploy', 'shop', '-o', 'jsonpath={.metadata.generation}')).out,
    )
    const replicas = Number(
      (await stack.direct('get', 'deploy', 'shop', '-o', 'jsonpath={.spec.replicas}')).out,
    )
    await stack.cluster.call(
      'PATCH',
      '/apis/apps/v1/namespaces/default/deployments/shop/status',
      {
        status: {
          observedGeneration: generation,
          replicas,
          updatedReplicas: replicas,
          readyReplicas: replicas,
          availableReplicas: replicas,
        },
      },
      'application/merge-patch+json',
    )
    expect(await waiting).toMatchObject({ code: 0, out: 'configmap/settings condition met\n' })
    expect((await rolling).out).toContain('successfully rolled out')
  })

  test('a watch tells of what happens', async () => {
    const watching = all.kubectl('get', 'configmaps', '--watch', '--request-timeout=4s', '-o', 'name')
    await new Promise((resolve) => setTimeout(resolve, 1500))
    await stack.direct('create', 'configmap', 'watched', '--from-literal=a=b')
    expect((await watching).out).toContain('configmap/watched')
    await stack.direct('delete', 'configmap', 'watched')
  })

  test('what Secrets hold is masked in every form, and stays what it is', async () => {
    const forms = [
      ['get', 'secret', 'door', '-o', 'yaml'],
      ['get', 'secrets', '-A', '-o', 'json'],
      ['get', 'secret', 'door', '-o', 'jsonpath={.data.code} {.metadata.annotations}'],
      ['get', 'secrets', '--watch', '--request-timeout=2s', '-o', 'yaml'],
      ['get', 'secrets', '--show-managed-fields', '-o', 'custom-columns=D:.data,A:.metadata.annotations'],
      ['annotate', 'secret', 'door', 'x=y', '--overwrite', '-o', 'yaml'],
      ['apply', '-f', file(), '-o', 'yaml'],
    ]
    for (const args of forms) {
      const { out, err } = await all.kubectl(...args)
      expect(out + err, args.join(' ')).not.toMatch(/open-sesame|b3Blbi1zZXNhbWU/)
      expect(out.length, args.join(' ')).toBeGreaterThan(0)
    }
    const { out } = await all.kubectl('get', 'secret', 'door', '-o', 'jsonpath={.data.code}')
    expect(Buffer.from(out, 'base64').toString()).toBe('[redacted:secret]')
    const clear = await stack.open('clear')
    expect((await clear.kubectl('get', 'secret', 'door', '-o', 'jsonpath={.data.code}')).out).toBe(
      Buffer.from('open-sesame-4711').toString('base64'),
    )
    expect(await stack.recorded('open-sesame')).toEqual([])
    expect(await stack.recorded('b3Blbi1zZXNhbWU')).toEqual([])
  })

  test('what Secrets hold is masked in every form that the API has', async () => {
    const one = '/k8s/prod/api/v1/namespaces/default/secrets/door'
    const list = '/k8s/prod/api/v1/secrets'
    const watch = 'watch=1&timeoutSeconds=1'
    // Without `pretty`: an API server of 1.20 built with a newer Go crashes on it.
    const forms = [
      [one, 'application/json'],
      [one, 'application/yaml'],
      [one, 'application/vnd.kubernetes.protobuf,application/yaml;q=0.9'],
      [one, 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1'],
      [`${one}?includeObject=Object`, 'application/json;as=Table;g=meta.k8s.io;v=v1'],
      [list, 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1'],
      [`${list}?includeObject=Object`, 'application/json;as=Table;g=meta.k8s.io;v=v1,application/json'],
      [`${list}?includeObject=Metadata&limit=1`, 'application/json;as=Table;g=meta.k8s.io;v=v1beta1'],
      [`${list}?resourceVersion=0&resourceVersionMatch=NotOlderThan`, '*/*'],
      [`${list}?${watch}`, 'application/json;stream=watch'],
      [`${list}?${watch}&includeObject=Object`, 'application/json;as=Table;g=meta.k8s.io;v=v1'],
      [
        `${list}?${watch}&allowWatchBookmarks=true&resourceVersion=0&sendInitialEvents=true`,
        'application/json',
      ],
      [`/k8s/prod/api/v1/watch/namespaces/default/secrets/door?timeoutSeconds=1`, 'application/yaml'],
      [`${list}?fieldSelector=metadata.name%3Ddoor`, 'application/cbor,application/json'],
    ] as const
    for (const [path, accept] of forms) {
      const said = await ask(path, accept)
      expect(said, `${path} as ${accept}`).toContain('door')
      expect(said, `${path} as ${accept}`).not.toMatch(/open-sesame|b3Blbi1zZXNhbWU/)
    }
  })

  test('what the API server itself says of a Secret that it does not give or change shows', async () => {
    const other = join(stack.folder, 'other.yaml')
    await writeFile(
      other,
      'apiVersion: v1\nkind: Secret\nmetadata: { name: made, namespace: default }\ndata: { a: b3RoZXItY29kZQ== }\n',
    )
    for (const args of [
      ['get', 'secret', 'missing'],
      ['create', 'secret', 'generic', 'door', '--from-literal=a=b'],
      ['apply', '--server-side', '--field-manager=me', '-f', other],
      ['get', 'secret', 'door', '--as', 'nobody'],
    ]) {
      const through = args.includes('--as')
        ? await (await stack.open('nobody')).kubectl(...args.slice(0, -2))
        : await all.kubectl(...args)
      const direct = await stack.direct(...args)
      expect(direct.code, args.join(' ')).toBe(1)
      expect(through, args.join(' ')).toEqual(direct)
    }
  })

  test('masked values are not written back', async () => {
    const masked = await all.kubectl('get', 'secret', 'door', '-o', 'yaml')
    const path = join(stack.folder, 'masked.yaml')
    await writeFile(path, masked.out)
    const value = Buffer.from('[redacted:secret]').toString('base64')
    const patch = (type: string, said: string): string[] => [
      'patch',
      'secret',
      'door',
      `--type=${type}`,
      '-p',
      said,
    ]
    for (const how of [
      ['apply', '-f', path],
      ['replace', '-f', path],
      ['apply', '--server-side', '--force-conflicts', '-f', path],
      patch('merge', `{"data":{"code":"${value}"}}`),
      patch('strategic', `{"data":{"code":"${value}"}}`),
      patch('json', `[{"op":"replace","path":"/data/code","value":"${value}"}]`),
      ['create', 'secret', 'generic', 'copied', '--from-literal=code=[redacted:secret]'],
    ]) {
      const { code, err } = await all.kubectl(...how)
      expect(code, how.join(' ')).not.toBe(0)
      expect(err).toContain('the body holds values that were masked')
    }
    // An editor that changes something else sends that alone.
    const edited = await run('kubectl', ['edit', 'secret', 'door'], {
      KUBECONFIG: all.env.KUBECONFIG ?? '',
      KUBE_EDITOR: `sed -i 's/^metadata:/metadata:\\n  labels: { edited: "yes" }/'`,
    })
    expect(edited).toMatchObject({ code: 0, out: 'secret/door edited\n' })
    expect((await stack.direct('get', 'secrets', '-l', 'edited=yes', '-o', 'name')).out).toBe('secret/door\n')
    const { out } = await stack.direct('get', 'secret', 'door', '-o', 'jsonpath={.data.code}')
    expect(Buffer.from(out, 'base64').toString()).toBe('open-sesame-4711')
  })

  test('a narrow stage finds its way, reads what it may, and is told by which rule it may not', async () => {
    const reader = await stack.open('reader')
    expect((await reader.kubectl('get', 'configmap', 'settings', '-o', 'name')).out).toBe(
      'configmap/settings\n',
    )
    for (const args of [['version'], ['api-resources'], ['explain', 'pods']])
      expect((await reader.kubectl(...args)).code, args.join(' ')).toBe(0)
    const refused = await reader.kubectl('get', 'pods')
    expect(refused.code).toBe(1)
    expect(refused.err).toContain(
      'Error from server (Forbidden): hoop-access: no rule of stage reader allows list on pods in namespace default',
    )
    expect((await reader.kubectl('get', 'configmaps', '-A')).err).toContain('allows list on configmaps')
    expect((await reader.kubectl('delete', 'configmap', 'settings')).err).toContain(
      'allows delete on configmaps named settings',
    )
    expect((await reader.kubectl('apply', '-f', file())).err).toContain('allows')
    expect(await reader.kubectl('auth', 'can-i', 'delete', 'configmaps')).toMatchObject({
      code: 1,
      out: expect.stringContaining('no - hoop-access: no rule of stage reader allows delete'),
    })
    expect(await reader.kubectl('auth', 'can-i', 'list', 'configmaps')).toMatchObject({
      code: 0,
      out: 'yes\n',
    })
    expect((await stack.direct('get', 'configmap', 'settings')).code).toBe(0)
    const records = await stack.recorded('/api/v1/namespaces/default/pods')
    expect(records).toContainEqual(expect.objectContaining({ kind: 'request', effect: 'deny' }))
  })

  test('a stage with its own account is that account, and one that impersonates is who it says', async () => {
    const nobody = await stack.open('nobody')
    expect((await nobody.kubectl('get', 'configmaps')).err).toContain('User "nobody" cannot list resource')
    const other = await stack.open('other')
    expect((await other.kubectl('get', 'configmaps')).code).toBe(0)
    expect((await other.kubectl('auth', 'can-i', 'delete', 'nodes')).out).toContain('yes')
  })

  test('there is one context for each cluster', async () => {
    expect((await all.kubectl('config', 'current-context')).out).toBe('prod\n')
    const both = await stack.open('both')
    expect((await both.kubectl('config', 'get-contexts', '-o', 'name')).out).toBe('prod\nsecond\n')
    expect((await both.kubectl('config', 'current-context')).code).toBe(1)
    expect(
      (await both.kubectl('--context', 'second', '-n', 'kube-system', 'get', 'cm', '-o', 'name')).code,
    ).toBe(0)
    expect(both.env.KUBECONFIG).toBe(join(both.home, 'kubeconfig'))
  })
})
