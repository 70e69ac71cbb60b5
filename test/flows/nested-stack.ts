import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { accounts, secrets, shop } from '../demo/shop.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'
import { type KubernetesServer, missingForKubernetes, startKubernetes } from '../servers/kubernetes.ts'
import { type Sshd, startSshd } from '../servers/sshd.ts'
import { executable } from '../servers/gateway.ts'
import { type GatewayStack, inProcess, startGatewayStack, writeStages, subjects } from './gateway-stack.ts'

/** A gateway before a database and a host, with stages that hand on to one another, for one test file. */
export interface NestedStack extends GatewayStack {
  readonly postgres: PostgresServer
  readonly sshd: Sshd
  /** Null where there is none: see `missingForKubernetes`. */
  readonly cluster: KubernetesServer | null
}

// `agent` may do most; it hands `helper` on, which may do less, and whose account may do more than its rules.
const stages = `
  agent:
    ${subjects}
    ttl: 15m
    max_ttl: 2h
    delegates: [helper]
    grants:
      - connection: orders-db
        as: { user: ci_deploy, password: "\${ORDERS_RW_PASSWORD}" }
        allow: [{ operations: [read, insert, update], resources: ["public.*"] }]
        approve: [{ operations: [delete], by: sre }]
      - connection: web-1
        allow: [{ operations: [exec], commands: ["echo *", "id -un"] }]
CLUSTER-AGENT
  helper:
    grants:
      - connection: orders-db
        as: { user: ci_migrate, password: "\${ORDERS_DDL_PASSWORD}" }
        allow: [{ operations: [read, insert, ddl], resources: ["public.*"] }]
      - connection: web-1
        allow: [{ operations: [exec], commands: ["echo *"] }]
CLUSTER-HELPER
`
/** Rules for the cluster, where there is one. */
const onCluster = (operations: string): string => `      - connection: prod
        allow: [{ operations: [${operations}], resources: [configmaps], namespaces: [default] }]`

/** Starts it. */
export async function startNestedStack(edit = (yaml: string): string => yaml): Promise<NestedStack> {
  const [postgres, sshd, cluster] = await Promise.all([
    startPostgres({ tls: true }),
    startSshd(),
    missingForKubernetes === null ? startKubernetes() : null,
  ])
  const rules = (text: string, operations: string): string =>
    text.replace(/^CLUSTER-\w+$/m, cluster === null ? '' : onCluster(operations))
  await postgres.query('CREATE DATABASE shop')
  await postgres.query(`${shop}${accounts}GRANT INSERT ON ALL TABLES IN SCHEMA public TO ci_migrate`, {
    database: 'shop',
  })
  const stack = await startGatewayStack(inProcess, {
    async configure(at) {
      await writeFile(join(at.folder, 'db-ca.pem'), postgres.caPem)
      const { host, port } = postgres
      if (cluster !== null) await writeFile(join(at.folder, 'kube-ca.pem'), cluster.ca)
      const prod =
        cluster === null
          ? ''
          : `\n  prod: { type: kubernetes, url: "${cluster.url}", token: "${cluster.tokens.admin}", ca: { file: kube-ca.pem } }`
      return writeStages({
        ...at,
        connections: `
  orders-db: { type: postgres, host: ${host}, port: ${port}, database: shop, ca: { file: db-ca.pem } }
  web-1: { type: ssh, host: 127.0.0.1, port: ${sshd.port}, user: ${sshd.user}, private_key: { file: ${sshd.privateKey} }, host_key: "${sshd.hostKey}" }${prod}`,
        stages: edit(rules(rules(stages, 'get, list, create, delete'), 'get, list, delete')),
      })
    },
    env: secrets,
    stop: () => Promise.all([postgres.stop(), sshd.stop(), cluster?.stop()]),
  })
  return { ...stack, postgres, sshd, cluster }
}

/** `hoop-access exec` within `hoop-access exec`, one for each level's flags, and the command within the last. */
export function nest(levels: readonly (readonly string[])[], command: readonly string[]): string[] {
  return levels.reduceRight<string[]>(
    (inner, flags) => [process.execPath, executable, 'exec', ...flags, '--', ...inner],
    [...command],
  )
}

/** A program that runs, with what it said so far and a way to type into it. */
export interface Typed {
  readonly child: ChildProcess
  said(): string
  /** Resolves once it has said this. */
  seen(text: string): Promise<void>
  type(line: string): void
}

/** Starts a program to talk to; it is ended with the test's process at the latest. */
export function talk(words: readonly string[], env: Readonly<Record<string, string>>): Typed {
  const [program = '', ...args] = words
  // A named pipe, whose end here stays open when the program is killed: what runs below it must not see its input end.
  const folder = mkdtempSync(join(tmpdir(), 'hoop-typed-'))
  execFileSync('mkfifo', [join(folder, 'input')])
  const input = openSync(join(folder, 'input'), 'r+')
  rmSync(folder, { recursive: true })
  const child = spawn(program, args, {
    env: { PATH: process.env.PATH ?? '', HOME: '/nonexistent', ...env },
    stdio: [input, 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  process.once('exit', () => child.kill('SIGKILL'))
  return {
    child,
    said: () => said,
    async seen(text) {
      for (let round = 0; round < 3000; round++) {
        if (said.includes(text)) return
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      throw new Error(`${JSON.stringify(text)} did not come:\n${said}`)
    },
    type: (line) => void writeSync(input, `${line}\n`),
  }
}
