import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'vitest'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { type GatesStack, groups, startGatesStack } from '../flows/gates-stack.ts'
import { type Job, type Ran, run } from '../flows/gateway-stack.ts'
import { lacks } from '../servers/programs.ts'

/** Jobs ask by curl. */
export const withCurl = test.skipIf(lacks('curl'))

/** What differs in a request beside its path; `leave` is aborted to go away. */
interface Asking {
  readonly body?: string
  readonly tenant?: string
  readonly leave?: AbortSignal
}

/** A gateway with every gate before an API, whose deletions below `/GROUP/` that group has to agree to. */
export interface ApprovalsStack extends GatesStack {
  /** What the API got: `PATH BODY`. */
  readonly passed: readonly string[]
  /** Has a job ask for it, by curl. */
  act(job: Job, path: string, options?: Asking): Promise<Ran>
  /** Asks, and gives the approval once people are asked. */
  hold(job: Job, path: string, options?: Asking): Promise<{ approval: ApprovalView; outcome: Promise<Ran> }>
  /** Says no as the operator, and sees that nothing has passed and that the record says so. */
  refuse(held: { approval: ApprovalView; outcome: Promise<Ran> }): Promise<void>
}

/** Starts it; `approvers` are further groups (name and settings). */
export async function startApprovalsStack(
  approvers: Readonly<Record<string, string>> = {},
): Promise<ApprovalsStack> {
  const passed: string[] = []
  const upstream = createServer((request, response) => {
    void text(request).then((body) => {
      passed.push(`${request.url} ${body}`.trim())
      response.end('{}')
    })
  })
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  const all = [...groups, ...Object.keys(approvers)]
  const stack = await startGatesStack({
    approvers: Object.entries(approvers)
      .map(([name, settings]) => `  ${name}: ${settings}`)
      .join('\n'),
    targets: () =>
      Promise.resolve({
        connections: `  api: { type: http, url: "http://127.0.0.1:${(upstream.address() as AddressInfo).port}" }`,
        grants: `      - connection: api
        approve:
${all.map((group) => `          - { operations: [DELETE], resources: ["/${group}/*"], by: ${group} }`).join('\n')}`,
      }),
    stop: () => {
      upstream.closeAllConnections()
      upstream.close()
      return Promise.resolve()
    },
  })
  const act: ApprovalsStack['act'] = (job, path, { body = '', tenant = 'a', leave } = {}) => {
    const { home } = job
    const args =
      `-sS -w %{http_code} -X DELETE --max-time 120 --cacert ${home}/ca.pem --cert ${home}/client.crt --key ${home}/client.key -H content-type:text/plain -H x-tenant:${tenant} --data-raw`.split(
        ' ',
      )
    return run('curl', [...args, body, `${stack.url}/http/api/${path}`], {}, (child) =>
      leave?.addEventListener('abort', () => child.kill('SIGKILL'), { once: true }),
    )
  }
  return {
    ...stack,
    passed,
    act,
    async hold(job, path, options) {
      const [group = ''] = path.split('/')
      const outcome = act(job, path, options)
      return { approval: await stack.waiting(group), outcome }
    },
    async refuse({ approval, outcome }) {
      const before = passed.length
      const denied = await stack.operator('approvals', 'deny', approval.id, '--reason', 'seen through')
      if (denied.code !== 0) throw new Error(denied.err)
      const { out } = await outcome
      if (!out.includes('seen through') || !out.endsWith('403')) throw new Error(`it was not refused: ${out}`)
      if (passed.length !== before) throw new Error(`the API got ${passed.at(-1)}`)
      const records = await stack.recorded('"answered"')
      const said = records.filter((record) => JSON.stringify(record).includes(approval.id))
      if (said.length !== 1 || said[0]?.['state'] !== 'denied')
        throw new Error(`the record says ${JSON.stringify(said)}`)
    },
  }
}
