import { createReadStream } from 'node:fs'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Refused } from '../../core/errors.ts'
import { type JobFile, noJobFiles } from '../job-files.ts'
import type { Routes } from '../parts.ts'

/** Downloads at once: each holds a file and a buffer, and whoever asks is not known. */
const DOWNLOADS = 256
/** A reader that takes nothing for so long is gone. */
const IDLE_MS = 30_000
const DOWNLOAD_MS = 300_000

/** The executable, for jobs whose image has none: public, and good only to those who know its digest from elsewhere. */
export const jobFileRoutes: Routes = (app, { jobFiles = noJobFiles, version }) => {
  let running = 0

  const send = (request: FastifyRequest, reply: FastifyReply, file: JobFile): FastifyReply => {
    const etag = `"${file.sha256}"`
    reply.headers({ etag, 'content-length': file.size })
    reply.type(file.name.endsWith('.gz') ? 'application/gzip' : 'text/javascript; charset=utf-8')
    if (matches(request.headers['if-none-match'], etag)) {
      return reply.code(304).removeHeader('content-length').removeHeader('content-type').send()
    }
    if (request.method === 'HEAD') return reply.send()
    if (running >= DOWNLOADS) {
      throw new Refused('overloaded', 'too many jobs are fetching the executable', 'try again in a while')
    }
    running++
    const content = createReadStream(file.path)
    // By what is read, which is what was taken: a socket of HTTP/2 says nothing of one stream on it.
    let taken = 0
    const end = (): void => void reply.raw.destroy()
    const idle = setInterval(() => {
      if (content.bytesRead === taken) end()
      taken = content.bytesRead
    }, IDLE_MS)
    const deadline = setTimeout(end, DOWNLOAD_MS)
    reply.raw.once('close', () => {
      running--
      clearInterval(idle)
      clearTimeout(deadline)
      content.destroy()
    })
    return reply.send(content)
  }

  const anyone = (summary: string) => ({ schema: { summary, tags: ['discovery'], security: [] } })
  const method = ['GET', 'HEAD']
  app.get('/client/', anyone('The executables for jobs, with their digests'), () => ({
    version,
    files: jobFiles.current.map(({ name, sha256, size }) => ({ name, sha256, size })),
  }))
  app.route<{ Params: { name: string } }>({
    method,
    url: '/client/:name',
    ...anyone('The executable for jobs, of this version'),
    handler: (request, reply) => {
      const file = jobFiles.current.find(({ name }) => name === request.params.name)
      if (file === undefined) throw unknown('has no file of this name for jobs', 'see /client/')
      return send(request, reply.header('cache-control', 'public, no-cache'), file)
    },
  })
  app.route<{ Params: { sha256: string; name: string } }>({
    method,
    url: '/client/:sha256/:name',
    ...anyone('The executable for jobs that has this SHA-256'),
    handler: (request, reply) => {
      const { sha256, name } = request.params
      const file = jobFiles.find(sha256, name)
      if (file === undefined) {
        const next = `take the plugin of version ${version}, or have the file made there: hoop-access client build`
        throw unknown(`of version ${version} has no file with this digest`, next)
      }
      return send(request, reply.header('cache-control', 'public, max-age=31536000, immutable'), file)
    },
  })
}

function unknown(why: string, next: string): Refused {
  return new Refused('not_found', `this gateway ${why}`, next)
}

/** RFC 9110 §13.1.2: a list, or `*`; comparison is weak. */
function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  return header.split(',').some((one) => ['*', etag].includes(one.trim().replace(/^W\//, '')))
}
