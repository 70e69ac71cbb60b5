import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { JobSchema } from '@gitbeaker/rest'

// GitLab's REST API v4, as far as the gateway asks it: a token in `PRIVATE-TOKEN`, and jobs as GitLab describes them.

type Job = Pick<JobSchema, 'id' | 'status' | 'name' | 'ref'> & {
  user: Pick<JobSchema['user'], 'id' | 'username'>
  pipeline: Pick<JobSchema['pipeline'], 'id' | 'project_id'>
}

export interface GitlabApi {
  readonly url: string
  readonly token: string
  readonly jobs: Map<number, Job>
  readonly violations: string[]
  /** Answers everything with this status, until null. */
  fail(status: number | null): void
  close(): Promise<void>
}

/** Starts it on 127.0.0.1, with project 7; `issuer` is asked for what is not the API (discovery, keys). */
export async function startGitlabApi(issuer: string): Promise<GitlabApi> {
  const token = 'glpat-aaaaaaaaaaaaaaaaaaaa'
  const jobs = new Map<number, Job>()
  const violations: string[] = []
  let failing: number | null = null
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '', 'http://api').pathname
    const send = (status: number, body: unknown): void => {
      if (status === 401 || status === 405) violations.push(`${status} ${request.method} ${path}`)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    if (!path.startsWith('/api/v4/')) {
      fetch(`${issuer}${path}`)
        .then(async (answer) => send(answer.status, await answer.json()))
        .catch(() => send(502, {}))
      return
    }
    if (failing !== null) return send(failing, { message: 'failing' })
    if (request.headers['private-token'] !== token) return send(401, { message: '401 Unauthorized' })
    if (request.method !== 'GET') return send(405, { message: '405 Method Not Allowed' })
    const [, project, id] = /^\/api\/v4\/projects\/(\d+)\/jobs\/(\d+)$/.exec(path) ?? []
    const job = project === '7' ? jobs.get(Number(id)) : undefined
    return job === undefined ? send(404, { message: '404 Not Found' }) : send(200, job)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token,
    jobs,
    violations,
    fail(status) {
      failing = status
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
