import { type Json, readJson } from '../../core/json.ts'
import type { Request } from '../../core/operation.ts'
import type { HttpRequest } from '../../http-relay/message.ts'

/** What rules can look into, in bytes. */
export const CONDITIONS_CAP = 1_048_576

/** The request with what its body says, for rules that look into it. */
export function withBodyRead(request: Request, message: HttpRequest, body: Buffer): Request {
  const read = bodyOf(message, body)
  const { meaning } = request
  const operations = meaning.operations.map((operation) => ({ ...operation, body: read }))
  return { ...request, meaning: { ...meaning, operations } }
}

/** The JSON of a body that says, once and plainly, that it is JSON in UTF-8: a server may read anything else in another way. */
function bodyOf({ headersDistinct: headers }: HttpRequest, body: Buffer): Json | 'empty' | null {
  if (body.byteLength === 0) return 'empty'
  const [type = '', ...types] = headers['content-type'] ?? []
  if (types.length > 0 || headers['content-encoding'] !== undefined || !jsonType.test(type)) return null
  return readJson(body)
}

const jsonType = /^application\/(?:[\w.!#$&^-]+\+)?json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i
