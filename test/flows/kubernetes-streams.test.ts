import { hash, randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Kubelet, startKubelet } from '../fakes/kubelet.ts'
import { missingForKubernetes } from '../servers/kubernetes.ts'
import { freePort } from '../servers/port.ts'
import { told } from '../servers/programs.ts'
import { run } from './gateway-stack.ts'
import { type Running, knock, startKubectl } from './kubernetes-running.ts'
import { type KubernetesJob, type KubernetesStack, anyone, startKubernetesStack } from './kubernetes-stack.ts'
import { eventually } from './stack.ts'

const token = 'ghp_0123456789abcdefghijklmnopqrstuvwxyz'
let kubelet: Kubelet
let stack: KubernetesStack
let all: KubernetesJob

describe.skipIf(told(missingForKubernetes))('streams of pods', () => {
  beforeAll(async () => {
    kubelet = await startKubelet()
    stack = await startKubernetesStack(
      () => `  all:
    ${anyone}
    grants:
      - { connection: prod, allow: [{ operations: ["*"] }] }
  narrow:
    ${anyone}
    grants:
      - connection: prod
        allow:
          - { operations: [get], resources: [pods, pods/log] }
          - { operations: [create], resources: [pods/exec], commands: ["echo *", "cat /etc/os-release"] }
        approve: [{ operations: [create], resources: [pods/exec], commands: ["sh -c *"], by: sre }]
  ported:
    ${anyone}
    grants:
      - connection: prod
        allow:
          - { operations: [get], resources: [pods] }
          - { operations: [create], resources: [pods/portforward], names: [web], ports: [80, 8081] }
        approve: [{ operations: [create], resources: [pods/portforward], names: [asked], ports: [80], by: sre }]
        deny: [{ operations: [create], resources: [pods/portforward], ports: [8081] }]
  reader:
    ${anyone}
    grants:
      - { connection: prod, allow: [{ operations: [read, create] }] }
`,
    )
    await stack.cluster.pod('web', kubelet.port)
    all = await stack.open('all')
  })
  afterAll(async () => {
    await stack?.close()
    await kubelet?.stop()
  })

  const start = (job: KubernetesJob, ...args: string[]): Running => startKubectl(job, stack.folder, ...args)

  test('exec gives output, error output and the exit code, with secrets masked, and is on record', async () => {
    const ran = await all.kubectl(
      'exec',
      'web',
      '--',
      'sh',
      '-c',
      `echo out ${token}; echo err ${token} >&2; exit 7`,
    )
    expect(ran).toEqual({
      code: 7,
      out: 'out [redacted:github-token]\n',
      err: 'err [redacted:github-token]\ncommand terminated with exit code 7\n',
    })
    const lanes = await stack.records('lane')
    expect(lanes).toContainEqual(expect.objectContaining({ what: 'opened', name: 'exec' }))
    expect(lanes).toContainEqual(expect.objectContaining({ what: 'closed', exit: 7 }))
    expect(await stack.recorded(token)).toEqual([])
    const session = await stack.recorded('"name":"exec"')
    expect(session.length).toBeGreaterThan(0)
  })

  test('a container that is not there is told by the cluster’s own words, though kubectl falls back to SPDY', async () => {
    const args = ['exec', '-c', 'nope', 'web', '--', 'id']
    const { code, err } = await all.kubectl(...args)
    expect({ code, err }).toEqual({
      code: 1,
      err: 'Error from server (BadRequest): container nope is not valid for pod web\n',
    })
  })

  test.each([0, 1, 126, 127, 137])('a program that exits with %d gives kubectl that code', async (code) => {
    expect((await all.kubectl('exec', 'web', '--', 'sh', '-c', `exit ${code}`)).code).toBe(code)
  })

  test('who reads slowly gets all that was said, and the exit code', async () => {
    const running = start(all, 'exec', 'web', '--', 'sh', '-c', 'head -c 3000000 /dev/zero; exit 5')
    running.child.stdout?.pause()
    await eventually(async () => expect(kubelet.seen.at(-1)).toContain('3000000'))
    // Longer than kubectl waits between two pings, and than last words are waited for.
    await new Promise((resolve) => setTimeout(resolve, 8000))
    running.child.stdout?.resume()
    expect(await running.code).toBe(5)
    expect(running.out().replaceAll('\0', '')).toBe('command terminated with exit code 5\n')
    expect(running.out().length).toBeGreaterThanOrEqual(3_000_000)
  })

  test('what is typed arrives whole, however much it is, and the end of it does, too', async () => {
    const running = start(all, 'exec', '-i', 'web', '--', 'sh', '-c', 'cat | wc -c')
    const bytes = randomBytes(3_000_000).toString('base64')
    running.child.stdin?.end(bytes)
    expect(await running.code).toBe(0)
    expect(running.out().trim()).toBe(String(bytes.length))
  })

  test('a terminal’s size goes along, and its session replays as what the terminal showed, without secrets', async () => {
    const running = start(all, 'exec', '-it', 'web', '--', 'sh')
    await eventually(async () => expect(running.out()).toMatch(/[$#] $/))
    running.child.stdin?.write(`echo "to""gether ${token}"\r`)
    await eventually(async () => expect(running.out()).toContain('together [redacted:github-token]'))
    running.child.stdin?.write('exit 3\r')
    expect(await running.code).toBe(3)
    expect(running.out()).not.toContain(token)
    expect(kubelet.seen).toContain('resize {"Width":101,"Height":33}\n')
    const lanes = await stack.records('lane')
    expect(lanes).toContainEqual(expect.objectContaining({ what: 'resized', columns: 101, rows: 33 }))
    const [opened] = lanes.filter(({ what, terminal }) => what === 'opened' && terminal !== undefined)
    expect(opened).toMatchObject({ name: 'exec' })
    const sessions = JSON.parse((await stack.operator('sessions', 'list', '--json')).out) as { id: string }[]
    const casts = await Promise.all(
      sessions.map(({ id }) => stack.operator('sessions', 'replay', id, '--cast', '0')),
    )
    const played = casts.map(({ out }) => {
      const lines = out.split('\n').filter((line) => line.startsWith('['))
      const events = lines.map((line) => JSON.parse(line) as [number, string, string])
      return events.map(([, code, data]) => (code === 'o' ? data : code === 'r' ? `<${data}>` : '')).join('')
    })
    const [shown = ''] = running.out().split('command terminated')
    expect(played).toContain(`<101x33>${shown}`)
    expect(await stack.recorded(token)).toEqual([])
  })

  test('files are copied both ways unchanged', async () => {
    const from = join(stack.folder, 'from.bin')
    const bytes = randomBytes(700_000)
    await writeFile(from, bytes)
    expect(await all.kubectl('cp', from, 'web:there.bin', '--no-preserve')).toMatchObject({
      code: 0,
      err: '',
    })
    expect((await readFile(join(kubelet.folder, 'there.bin'))).equals(bytes)).toBe(true)
    const back = join(stack.folder, 'back.bin')
    expect((await all.kubectl('cp', 'web:there.bin', back)).code).toBe(0)
    expect((await readFile(back)).equals(bytes)).toBe(true)
  })

  test('what is said both ways at once arrives whole with slow readers at both ends, in little memory', async () => {
    const path = join(stack.folder, 'much.bin')
    const bytes = randomBytes(110_000_000)
    await writeFile(path, bytes)
    const before = process.memoryUsage().rss
    let most = 0
    const watching = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss)
    }, 50)
    const env = { PATH: process.env.PATH ?? '', KUBECONFIG: all.env.KUBECONFIG ?? '', FILE: path }
    // The program reads and the client takes with pauses, so that each of them holds the other up.
    const slowly = '(sleep 2; head -c 50000000; sleep 2; cat)'
    const there = slowly.replaceAll("'", "'\\''")
    const line = `kubectl exec -i web -- sh -c '${there}' < "$FILE" | ${slowly} | sha256sum`
    const { code, out } = await run('bash', ['-o', 'pipefail', '-c', line], env)
    clearInterval(watching)
    expect({ code, sum: out.split(' ')[0] }).toEqual({ code: 0, sum: hash('sha256', bytes) })
    // Gateway and stand-in are both in this process.
    expect(most - before).toBeLessThan(250_000_000)
  })

  test('a folder of odd names is copied both ways unchanged', async () => {
    const tree = join(stack.folder, 'tree')
    const names = ['-rf', 'a b', 'ü', "it's", 'new\nline', '.hidden', '$(id)', '%2e%2e']
    await mkdir(join(tree, 'deep er', '.dir'), { recursive: true })
    for (const name of names) await writeFile(join(tree, 'deep er', name), name)
    await writeFile(join(tree, 'deep er', '.dir', 'large'), randomBytes(30_000_000))
    expect(await all.kubectl('cp', tree, 'web:there')).toMatchObject({ code: 0, err: '' })
    expect(await all.kubectl('cp', 'web:there', join(stack.folder, 'again'))).toMatchObject({ code: 0 })
    const same = await run('diff', ['-r', tree, join(stack.folder, 'again')], {})
    expect(same).toEqual({ code: 0, out: '', err: '' })
  })

  test('input and output end each by itself', async () => {
    const early = start(all, 'exec', '-i', 'web', '--', 'sh', '-c', 'cat > all; sleep 1; cat all; exit 9')
    early.child.stdin?.end('typed before the end')
    expect(await early.code).toBe(9)
    expect(early.out()).toContain('typed before the end')
    const late = start(all, 'exec', '-i', 'web', '--', 'sh', '-c', 'exec >&- 2>&-; cat > late; exit 8')
    await new Promise((resolve) => setTimeout(resolve, 500))
    late.child.stdin?.end('typed after the output ended')
    expect(await late.code).toBe(8)
    expect(await readFile(join(kubelet.folder, 'late'), 'utf8')).toBe('typed after the output ended')
  })

  test('attach talks with what runs', async () => {
    const running = start(all, 'attach', '-i', 'web')
    running.child.stdin?.write('small\n')
    await new Promise((resolve) => setTimeout(resolve, 1000))
    running.child.stdin?.end()
    await running.code
    expect(running.out()).toContain('SMALL')
  })

  test('logs are masked, and followed as they come', async () => {
    expect((await all.kubectl('logs', 'web')).out).toBe(
      'first line\npassword of the token: [redacted:github-token]\n',
    )
    const running = start(all, 'logs', '-f', 'web')
    await eventually(async () => expect(running.out()).toContain('first line'))
    kubelet.log('another line')
    await eventually(async () => expect(running.out()).toContain('another line'))
    running.child.kill()
    await running.code
  })

  test('port-forward carries any protocol, counted', async () => {
    const port = await freePort()
    const running = start(all, 'port-forward', 'web', `${port}:80`)
    await eventually(async () => expect(running.out()).toContain('Forwarding from 127.0.0.1'))
    expect(await knock(port, `knock ${token}`)).toBe(`port 80 says knock ${token}`)
    running.child.kill()
    await running.code
    await eventually(async () => {
      const lanes = await stack.records('lane')
      const opened = lanes.find(({ what, name }) => what === 'opened' && name === 'port-forward')
      expect(opened).toBeDefined()
      expect(lanes).toContainEqual(
        expect.objectContaining({
          what: 'closed',
          out: expect.objectContaining({ sha256: expect.any(String) }),
        }),
      )
    })
    expect(await stack.recorded(token)).toEqual([])
  })

  test('a rule’s ports decide on each port, and what is not among them is refused in words', async () => {
    const job = await stack.open('ported')
    const [web, other, denied] = await Promise.all([freePort(), freePort(), freePort()])
    for (const [port, remote, why] of [
      [other, 5432, 'no rule of stage ported allows create on pods/portforward to port 5432'],
      [denied, 8081, 'rule ported/prod deny[0] forbids create on pods/portforward to port 8081'],
    ] as const) {
      const running = start(job, 'port-forward', 'web', `${web}:80`, `${port}:${remote}`)
      await eventually(async () => expect(running.out()).toContain(`Forwarding from 127.0.0.1:${port}`))
      // Several at once, of which each is a pair of streams in the same tunnel.
      const said = await Promise.all(['a', 'b', 'c'].map((text) => knock(web, text)))
      expect(said).toEqual(['a', 'b', 'c'].map((text) => `port 80 says ${text}`))
      expect(await knock(port)).toBe('')
      expect(await running.code).toBe(1)
      expect(running.out()).toContain(`hoop-access: ${why}`)
      expect(kubelet.seen.filter((line) => line.startsWith(`port ${remote}`))).toEqual([])
      expect(JSON.stringify(await stack.records('request'))).toContain(`portforward port ${remote}`)
    }
    expect(await stack.records('lane')).toContainEqual(expect.objectContaining({ what: 'port', port: 80 }))
    expect((await job.kubectl('exec', 'web', '--', 'true')).err).toContain('no rule of stage ported allows')
  })

  test('people are asked before a tunnel is opened, and then only for the ports of the rule', async () => {
    const job = await stack.open('ported')
    await stack.cluster.pod('asked', kubelet.port)
    const [web, other] = await Promise.all([freePort(), freePort()])
    const running = start(job, 'port-forward', 'asked', `${web}:80`, `${other}:81`)
    const { id } = await stack.pending()
    expect(running.out()).toBe('')
    await stack.operator('approvals', 'approve', id, '--reason', 'fine')
    await eventually(async () => expect(running.out()).toContain(`Forwarding from 127.0.0.1:${other}`))
    expect(await knock(web)).toBe('port 80 says knock')
    expect(await knock(other)).toBe('')
    expect(await running.code).toBe(1)
    expect(running.out()).toContain('to port 81')
  })

  test('rules with commands decide on exec alone', async () => {
    const narrow = await stack.open('narrow')
    expect(await narrow.kubectl('exec', 'web', '--', 'echo', 'hi')).toMatchObject({ code: 0, out: 'hi\n' })
    const before = kubelet.seen.length
    for (const args of [
      ['exec', 'web', '--', 'cat', '/etc/passwd'],
      ['exec', 'web', '--', 'echo', '-n'],
      ['attach', 'web'],
      ['port-forward', 'web', '9999:80'],
    ]) {
      const { code, err } = await narrow.kubectl(...args)
      expect(code, args.join(' ')).toBe(1)
      expect(err, args.join(' ')).toContain('no rule of stage narrow allows create')
    }
    expect(kubelet.seen.length).toBe(before)
  })

  test('a rule that names no resources lets nobody into pods', async () => {
    const reader = await stack.open('reader')
    expect((await reader.kubectl('get', 'pods')).code).toBe(0)
    expect((await reader.kubectl('exec', 'web', '--', 'true')).err).toContain(
      'no rule of stage reader allows create',
    )
    expect((await reader.kubectl('get', '--raw', '/k8s/prod/api/v1/nodes/x/proxy/pods')).err).toContain(
      'no rule of stage reader allows get on nodes/proxy',
    )
  })

  test('exec waits for people, and goes on when they agree', async () => {
    const narrow = await stack.open('narrow')
    const running = start(narrow, 'exec', 'web', '--', 'sh', '-c', 'echo approved indeed')
    const { id, statement } = await stack.pending()
    expect(statement).toContain("-- sh -c 'echo approved indeed'")
    expect(kubelet.seen.some((line) => line.includes('approved indeed'))).toBe(false)
    await stack.operator('approvals', 'approve', id, '--reason', 'fine')
    expect(await running.code).toBe(0)
    expect(running.out()).toBe('approved indeed\n')
  })

  test('exec that people refuse says so, though kubectl falls back to SPDY', async () => {
    const narrow = await stack.open('narrow')
    const running = start(narrow, 'exec', 'web', '--', 'sh', '-c', 'echo never')
    const { id } = await stack.pending()
    await stack.operator('approvals', 'deny', id, '--reason', 'not on a Friday')
    expect(await running.code).toBe(1)
    expect(running.out()).toContain('not on a Friday')
    expect(running.out()).not.toContain('SPDY')
    expect(kubelet.seen.some((line) => line.includes('echo never'))).toBe(false)
  })

  test('revocation cuts streams at once, and says why', async () => {
    const job = await stack.open('all')
    const exec = start(job, 'exec', '-i', 'web', '--', 'cat')
    const logs = start(job, 'logs', '-f', 'web')
    const port = await freePort()
    const forward = start(job, 'port-forward', 'web', `${port}:80`)
    await eventually(async () => expect(forward.out()).toContain('Forwarding from 127.0.0.1'))
    expect(await knock(port)).toBe('port 80 says knock')
    exec.child.stdin?.write('still here\n')
    await eventually(async () => expect(exec.out()).toContain('still here'))
    await eventually(async () => expect(logs.out()).toContain('first line'))
    await job.revoke()
    expect(await exec.code).not.toBe(0)
    expect(exec.out()).toContain('hoop-access')
    expect(await logs.code).not.toBe(0)
    expect(await forward.code).not.toBe(0)
    expect(forward.out()).toContain('lost connection to pod')
  })
})
