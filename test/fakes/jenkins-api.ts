import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

// A Jenkins controller as its remote API shows one build of job shop: ApproverActions of the run (exported by Pipeline: Input
// Step) and the inputs that wait (Pipeline: REST API). Basic authentication with an API token, GET only.

export interface JenkinsApi {
  readonly url: string
  /** The page of the build. */
  readonly page: string
  readonly user: string
  readonly token: string
  /** What the build's page says; tests change it as people would. `cause` is the class of its cause, which names nobody where there is no starter. */
  readonly build: { building: boolean; starter: string | null; cause: string; readonly approvers: string[] }
  /** By job: who started its builds, a person or a build of another job. */
  readonly jobs: Map<string, { starter: string | null; upstream?: { job: string; number: number } }>
  readonly inputs: { id: string; message: string }[]
  readonly violations: string[]
  /** How often somebody saw an input wait. */
  seen(): number
  /** Somebody answers the input that waits. */
  proceed(who: string): void
  abort(): void
  fail(status: number | null): void
  close(): Promise<void>
}

/** Causes of other classes than a user's have no `userId` at all. */
function causeOf(userId: string | null, cause: string): object {
  return { _class: cause, ...(cause.endsWith('UserIdCause') && { userId }) }
}

/** Starts it on 127.0.0.1; `issuer` is asked for what lies below /oidc, as if it were the controller's own. */
export async function startJenkinsApi(issuer?: string): Promise<JenkinsApi> {
  const [user, token] = ['hoop', '11aabbccddeeff00112233445566778899']
  const violations: string[] = []
  const build: JenkinsApi['build'] = {
    building: true,
    starter: 'dev',
    cause: 'hudson.model.Cause$UserIdCause',
    approvers: [],
  }
  const jobs: JenkinsApi['jobs'] = new Map()
  const inputs: JenkinsApi['inputs'] = []
  let failing: number | null = null
  /** What the double of the `input` step asks: it shows one input, and ends with what people do. */
  let seen = 0
  let answered: 'proceed' | 'abort' | null = null
  const double = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.method === 'POST') {
      answered = null
      inputs.push(JSON.parse(await text(request)) as { id: string; message: string })
    }
    if (request.method === 'DELETE') inputs.length = 0
    response.end(answered ?? 'waiting')
  }
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://ci')
    const send = (status: number, body: unknown): void => {
      if (status === 401 || status === 403 || status === 405)
        violations.push(`${status} ${request.method} ${url.pathname}`)
      response
        .writeHead(status, { 'content-type': 'application/json;charset=utf-8' })
        .end(JSON.stringify(body))
    }
    if (url.pathname === '/double/input') return void double(request, response)
    if (issuer !== undefined && url.pathname.startsWith('/oidc/')) {
      const origin = new URL(issuer).origin
      fetch(`${origin}${url.pathname}`)
        .then(async (answer) =>
          response.writeHead(answer.status).end((await answer.text()).replaceAll(origin, api.url)),
        )
        .catch(() => send(502, {}))
      return
    }
    if (failing !== null) return send(failing, {})
    const expected = `Basic ${Buffer.from(`${user}:${token}`).toString('base64')}`
    if (request.headers.authorization !== expected) return send(401, {})
    if (request.method !== 'GET') return send(405, {})
    const [, job = '', number = '', what = ''] = /^\/job\/([\w-]+)\/(\d+)\/(.+)$/.exec(url.pathname) ?? []
    const by = jobs.get(job)
    // As for a job that the user may not read.
    if (job !== 'shop' && by === undefined) return send(404, {})
    switch (what) {
      case 'api/json': {
        if (url.searchParams.get('tree') === null) violations.push('the whole of a build was asked for')
        const input = 'org.jenkinsci.plugins.workflow.support.steps.input.ApproverAction'
        return send(200, {
          _class: 'org.jenkinsci.plugins.workflow.job.WorkflowRun',
          number: Number(number),
          url: `${api.url}/job/${job}/${number}/`,
          building: build.building,
          actions: [
            {
              _class: 'hudson.model.CauseAction',
              causes: [
                by?.upstream === undefined
                  ? causeOf(by?.starter ?? build.starter, build.cause)
                  : {
                      _class: 'hudson.model.Cause$UpstreamCause',
                      upstreamBuild: by.upstream.number,
                      upstreamProject: by.upstream.job,
                      upstreamUrl: `job/${by.upstream.job}/`,
                    },
              ],
            },
            {},
            ...build.approvers.map((userId) => ({ _class: input, userId })),
          ],
        })
      }
      case 'wfapi/pendingInputActions':
        if (inputs.length > 0) seen++
        return send(
          200,
          inputs.map(({ id, message }) => ({
            id: id.charAt(0).toUpperCase() + id.slice(1),
            proceedText: 'Approve',
            message,
            inputs: [],
            proceedUrl: `/job/shop/${number}/wfapi/inputSubmit?inputId=${id}`,
            abortUrl: `/job/shop/${number}/input/${id}/abort`,
            redirectApprovalUrl: `/job/shop/${number}/input/`,
          })),
        )
      default:
        return send(404, {})
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const api: JenkinsApi = {
    url,
    page: `${url}/job/shop/7/`,
    user,
    token,
    build,
    jobs,
    inputs,
    violations,
    seen: () => seen,
    proceed(who) {
      inputs.length = 0
      build.approvers.push(who)
      answered = 'proceed'
    },
    abort() {
      inputs.length = 0
      answered = 'abort'
    },
    fail(status) {
      failing = status
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return api
}
