import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missingForKubernetes } from '../servers/kubernetes.ts'
import { told } from '../servers/programs.ts'
import { type KubernetesJob, type KubernetesStack, anyone, startKubernetesStack } from './kubernetes-stack.ts'

let stack: KubernetesStack
let plan: KubernetesJob

const manifests = (colour: string, code: string): string => `
apiVersion: v1
kind: ConfigMap
metadata: { name: settings, namespace: default }
data: { colour: ${colour} }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: shop, namespace: default }
spec:
  selector: { matchLabels: { app: shop } }
  template:
    metadata: { labels: { app: shop } }
    spec: { containers: [{ name: main, image: "shop:${colour}" }] }
---
apiVersion: v1
kind: Secret
metadata: { name: door, namespace: default }
stringData: { code: ${code} }
`

describe.skipIf(told(missingForKubernetes))('a stage that may only try', () => {
  beforeAll(async () => {
    stack = await startKubernetesStack(
      () => `  plan:
    ${anyone}
    delegates: [plan]
    grants:
      - connection: prod
        allow:
          - { operations: [read] }
          - { operations: [create, update, patch, delete, deletecollection], dry_run: true }
          - { operations: [create, update, patch], dry_run: true, resources: [secrets] }
        approve:
          - { operations: [create, update, patch, delete, deletecollection], dry_run: false, by: sre }
  look:
    ${anyone}
    grants:
      - connection: prod
        allow: [{ operations: [read] }, { operations: [create, patch, delete, deletecollection], dry_run: true }]
  asked:
    ${anyone}
    grants:
      - connection: prod
        allow: [{ operations: [read] }]
        approve: [{ operations: [create, patch, delete], by: sre }]
`,
    )
    plan = await stack.open('plan')
    await writeFile(file('was'), manifests('green', 'open-sesame-4711'))
    await writeFile(file('is'), manifests('blue', 'shut-sesame-4712'))
    await stack.direct('apply', '-f', file('was'))
  })
  afterAll(() => stack?.close())

  const file = (name: string): string => join(stack.folder, `${name}.yaml`)
  /** What is stored of all that these tests try to change. */
  const stored = async (): Promise<string> => {
    const { out } = await stack.direct('get', 'cm,deploy,secret,ns,sa', '-A', '-o', 'yaml')
    return out
  }

  test.each([
    ['diff', '-f', 'is'],
    ['diff', '--server-side', '--force-conflicts', '-f', 'is'],
    ['apply', '--dry-run=server', '-f', 'is'],
    ['apply', '--server-side', '--force-conflicts', '--dry-run=server', '-f', 'is'],
    ['replace', '--dry-run=server', '-f', 'is'],
  ])('kubectl %s %s: it is told, and nothing changes', async (...words) => {
    const before = await stored()
    const args = words.map((word) => (word === 'is' ? file('is') : word))
    const { code, out, err } = await plan.kubectl(...args)
    // kubectl says so of objects that were applied without --server-side, gateway or not.
    expect(err.replaceAll(/^Warning: failed to migrate .*\n/gm, '')).toBe('')
    expect(code).toBe(words[0] === 'diff' ? 1 : 0)
    if (words[0] === 'diff') expect(out).toMatch(/-\s+colour: green\n\+\s+colour: blue/)
    else expect(out).toMatch(/configmap\/settings .*\(server dry run\)/)
    // A masked Secret stays masked in what a dry run gives back.
    expect(out).not.toMatch(/sesame|c2VzYW1l|b3Blbi1z|c2h1dC1z/)
    expect(await stored()).toBe(before)
  })

  test('what is not there yet is tried as well, and so is deleting', async () => {
    const before = await stored()
    for (const args of [
      ['create', 'configmap', 'new', '--from-literal=a=b', '--dry-run=server'],
      ['create', 'namespace', 'new', '--dry-run=server'],
      ['run', 'new', '--image=new:1', '--dry-run=server'],
      ['label', 'configmap', 'settings', 'a=b', '--dry-run=server'],
      ['delete', 'configmap', 'settings', '--dry-run=server'],
      ['delete', 'deployments', '--all', '--dry-run=server'],
    ]) {
      const { code, out, err } = await plan.kubectl(...args)
      expect({ code, err }, args.join(' ')).toEqual({ code: 0, err: '' })
      expect(out).toContain('dry run')
    }
    expect(await stored()).toBe(before)
  })

  test('a Secret given back by a dry run is masked in every form', async () => {
    for (const args of [
      ['patch', 'secret', 'door', '-p', '{"stringData":{"code":"guess-4713"}}'],
      ['patch', 'secret', 'door', '--type=merge', '-p', '{"stringData":{"other":"x"}}'],
      ['apply', '--server-side', '--force-conflicts', '-f', file('is')],
      ['annotate', 'secret', 'door', 'a=b'],
    ]) {
      const { code, out } = await plan.kubectl(...args, '--dry-run=server', '-o', 'yaml')
      expect(code, args.join(' ')).toBe(0)
      expect(out).toContain(Buffer.from('[redacted:secret]').toString('base64'))
      expect(out).not.toMatch(/sesame|c2VzYW1l|b3Blbi1z|c2h1dC1z|Z3Vlc3|guess/)
    }
  })

  test('the real thing waits for people', async () => {
    const applying = plan.kubectl('apply', '-f', file('is'), '--selector', '!none', '--prune=false')
    for (const resource of ['configmaps', 'apps/deployments', 'secrets']) {
      const { id, operations, statement } = await stack.pending()
      expect(operations).toEqual([{ action: 'patch', resource }])
      expect(statement).not.toContain('dryRun')
      await stack.operator('approvals', 'approve', id, '--reason', 'planned')
    }
    expect((await applying).code).toBe(0)
    expect((await stack.direct('get', 'cm', 'settings', '-o', 'jsonpath={.data.colour}')).out).toBe('blue')
    await stack.direct('apply', '-f', file('was'))
  })

  test('or is denied, and so is what keeps to no dry run', async () => {
    const look = await stack.open('look')
    const before = await stored()
    for (const [denial, ...args] of [
      ['no rule of stage look allows patch on configmaps', 'apply', '-f', file('is')],
      ['allows delete on configmaps', 'delete', 'configmap', 'settings'],
      ['allows patch on apps/deployments/scale', 'scale', 'deploy/shop', '--replicas=2', '--dry-run=server'],
      // Nothing but a rule that names them lets guesses at Secrets be tried.
      ['allows patch as a dry run on secrets', 'annotate', 'secret', 'door', 'a=b', '--dry-run=server'],
      ['allows create on serviceaccounts/token', 'create', '--raw', tokenPath, '-f', file('token')],
    ]) {
      await writeFile(file('token'), '{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest"}')
      const { code, err } = await look.kubectl(...args)
      expect(code, args.join(' ')).toBe(1)
      expect(err).toContain(denial)
    }
    expect(await stored()).toBe(before)
    expect(await stack.recorded('"dry_run":true')).not.toEqual([])
  })
  const tokenPath = '/k8s/prod/api/v1/namespaces/default/serviceaccounts/default/token?dryRun=All'

  test('people who are asked are told that it is one, and agree to no more', async () => {
    const asked = await stack.open('asked')
    const trying = asked.kubectl('label', 'configmap', 'settings', 'a=b', '--dry-run=server')
    const { id, operations, statement } = await stack.pending()
    expect(operations).toEqual([{ action: 'patch', resource: 'configmaps', dry_run: true }])
    expect(statement).toContain('dryRun=All')
    expect((await stack.operator('approvals', 'list')).out).toContain('dry run: patch configmaps')
    await stack.operator('approvals', 'approve', id, '--reason', 'look at it')
    expect((await trying).code).toBe(0)
    // With a body the API server does not look at the query.
    await writeFile(file('none'), '{}')
    const looking = asked.kubectl(
      'delete',
      '--raw',
      '/k8s/prod/api/v1/namespaces/default/configmaps/settings?dryRun=All',
      '-f',
      file('none'),
    )
    const { id: doubtful, operations: told } = await stack.pending()
    expect(told).toEqual([{ action: 'delete', resource: 'configmaps', dry_run: false }])
    expect((await stack.operator('approvals', 'list')).out).toContain('dry run or not: delete configmaps')
    await stack.operator('approvals', 'deny', doubtful, '--reason', 'it is none')
    expect((await looking).code).toBe(1)
    const doing = asked.kubectl('label', 'configmap', 'settings', 'a=b')
    const { id: other } = await stack.pending()
    expect(other).not.toBe(id)
    await stack.operator('approvals', 'deny', other, '--reason', 'not for real')
    expect((await doing).code).toBe(1)
  })

  test('a nested agent may be given dry runs and nothing else', async () => {
    const child = await stack.open('plan', { connections: 'prod:dry-run' })
    const tried = await child.kubectl('create', 'configmap', 'new', '--from-literal=a=b', '--dry-run=server')
    expect(tried).toMatchObject({ code: 0 })
    for (const args of [
      ['create', 'configmap', 'new', '--from-literal=a=b'],
      ['get', 'configmaps'],
    ]) {
      const { code, err } = await child.kubectl(...args)
      expect(code).toBe(1)
      expect(err).toContain('narrowed to dry-run')
    }
    expect((await stack.direct('get', 'cm', 'new')).code).toBe(1)
    const reader = await stack.open('plan', { connections: 'prod:read,prod:dry-run' })
    expect((await reader.kubectl('diff', '-f', file('is'))).out).toContain('+  colour: blue')
    expect((await reader.kubectl('apply', '-f', file('is'))).err).toContain('narrowed to read, dry-run')
  })
})
