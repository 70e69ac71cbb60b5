import { isUtf8 } from 'node:buffer'
import type { PassThrough } from 'node:stream'
import { Refused } from '../core/errors.ts'
import type { Permit } from '../core/gate.ts'
import type { Request } from '../core/operation.ts'
import type { Lane } from '../core/protocol.ts'
import type { HttpRequest } from './message.ts'

/** What people can be asked about whole, in bytes. */
export const HELD_CAP = 65_536
/** How long a body may stand still. */
const STILL_MS = 60_000
/** What bodies read whole may take of memory at once, all together. */
const ROOM = 268_435_456
let taken = 0

/** The body of a request, whole. Rejects with `Refused` `too_large` past `cap` bytes, `overloaded` when too many are read at once. */
export async function readWhole(request: HttpRequest, cap: number, why: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of inTime(request)) {
      size += chunk.byteLength
      taken += chunk.byteLength
      if (size > cap)
        throw new Refused(
          'too_large',
          `${why}, and its body is larger than the ${cap} bytes that can be read for that`,
          'send less at once',
        )
      if (taken > ROOM)
        throw new Refused('overloaded', 'too many large bodies are being read', 'send it again in a moment')
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  } finally {
    taken -= size
  }
}

/**
 * The request with its body, which people are asked about and an approval is bound to: as text where it is text; with
 * `show`, as that shows it, and the body itself for a parameter.
 */
export function withBody(asked: Request, body: Buffer, show?: (body: Uint8Array) => Uint8Array): Request {
  if (body.byteLength === 0) return asked
  if (show !== undefined)
    return { ...asked, text: `${asked.text}\n\n${Buffer.from(show(body)).toString()}`, parameters: [body] }
  // A meaning of its own, because what means the same is recorded once.
  const meaning = { ...asked.meaning }
  return isUtf8(body)
    ? { ...asked, meaning, text: `${asked.text}\n\n${body.toString()}` }
    : { ...asked, meaning, parameters: [body] }
}

/** Sends a request's body upstream, as it comes or as it was read, no faster than the target takes it. */
export async function sendBody(parts: {
  readonly request: HttpRequest
  readonly whole: Buffer | null
  readonly lane: Lane
  readonly permit: Permit
  readonly body: PassThrough
}): Promise<void> {
  const { request, whole, lane, permit, body } = parts
  for await (const chunk of whole === null ? inTime(request) : [whole]) {
    if (body.destroyed) return
    if (!lane.forward(permit, chunk)) await lane.drained('upstream')
  }
  body.end()
}

/** A body's pieces; a client that stops in the middle is cut. */
async function* inTime(request: HttpRequest): AsyncGenerator<Buffer> {
  // While the target takes what came, the client is not the one who stands still.
  let taking = false
  const timer = setTimeout(() => {
    if (taking) timer.refresh()
    else request.destroy(new Refused('timed_out', 'the body stopped coming', 'send it again'))
  }, STILL_MS)
  try {
    for await (const chunk of request) {
      taking = true
      if (Buffer.isBuffer(chunk)) yield chunk
      taking = false
      timer.refresh()
    }
  } finally {
    clearTimeout(timer)
  }
}
