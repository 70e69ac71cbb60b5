import type { Permit } from '../../core/gate.ts'
import type { Filter } from '../../http-relay/dialect.ts'
import { createJsonStream } from '../../masking/json-stream.ts'

type FieldMask = Permit['fields'][number]

/** What stands for a masked value. Secrets' data is base64, and clients decode it. */
export const marker = '[redacted:secret]'
const encodedMarker = Buffer.from(marker).toString('base64')
const unshown = 'not shown: it may quote values of a Secret'

/** Every child of every member of a name, at whatever depth: objects, lists, watches and tables hold Secrets at different ones. */
const below = (name: string): FieldMask => ({
  mask: { name, with: 'redact' },
  path: [{ kind: 'deep' }, { kind: 'name', name }, { kind: 'any' }],
})
/** Annotations may hold the whole object once more (last-applied-configuration, and what other tools keep). */
const values = [below('data'), below('stringData'), below('annotations')]
const messages: FieldMask = {
  mask: { name: 'message', with: 'redact' },
  path: [{ kind: 'deep' }, { kind: 'name', name: 'message' }],
}

/**
 * What API servers say by themselves of a Secret that they do not give or change (k8s.io/apimachinery/pkg/api/errors). Anything else may
 * quote values: what they find wrong with an object, what webhooks and policies say of it.
 */
const plainMessages = [
  /^[\w.-]+ "[^"]*" (?:not found|already exists)$/,
  /^[\w.-]+(?: "[^"]*")? is forbidden: User "[^"]*" cannot \w+ resource "[\w./-]*" in API group "[\w.-]*"(?: in the namespace "[\w.-]*"| at the cluster scope)?$/,
  /^Operation cannot be fulfilled on [\w.-]+ "[^"]*": the object has been modified; please apply your changes to the latest version and try again$/,
  /^(?:Apply failed with \d+ conflicts?: )?conflicts? with "[^"]*"(?: with subresource "\w+")? using [\w./-]+(?: at [\w:.-]+)?(?:: \.[\w.-]+|:(?:\n- \.[\w.-]+)+)?$/,
  /^(?:Unauthorized|too old resource version: \d+ \(\d+\)|the server could not find the requested resource)$/,
  /^Too many requests, please try again later\.$/,
]

/** A mask over what Secrets hold; with `failing` also over messages, which quote what they are about. Throws `Refused` on what is not JSON. */
export function maskSecrets(masked: () => void, failing = false): Filter {
  const shown = (name: string, text: Uint8Array | null): Uint8Array => {
    const within = name === 'annotations' && text !== null ? annotation(text, masked) : null
    if (within !== null) return within
    if (text !== null && name === 'message' && isPlain(text)) return text
    masked()
    return Buffer.from(name === 'data' ? encodedMarker : name === 'message' ? unshown : marker)
  }
  return createJsonStream(
    failing ? [...values, messages] : values,
    ({ name }, text) => shown(name, text),
    () => undefined,
  )
}

/** In place of a failure about Secrets that is no JSON: that there is one. */
export function hideText(masked: () => void): Filter {
  const nothing = new Uint8Array(0)
  let came = false
  return {
    push(chunk) {
      came ||= chunk.byteLength > 0
      return nothing
    },
    end() {
      if (!came) return nothing
      masked()
      return Buffer.from(unshown)
    },
  }
}

function isPlain(message: Uint8Array): boolean {
  const text = Buffer.from(message).toString()
  return plainMessages.some((form) => form.test(text))
}

/** How an object shows that is no JSON: YAML, JSON in a text once more, or compressed (gzip in base64). */
const hiding = /(?:^|[\s"'\\{,])(?:string)?data\\*["']?\s*:|^\s*H4sI/i

/** An annotation as it may be shown: what is JSON masked within, what only begins like it or holds an object otherwise not at all. */
function annotation(text: Uint8Array, masked: () => void): Uint8Array | null {
  const written = Buffer.from(text).toString('latin1')
  if (!/^\s*[{[]/.test(written)) return hiding.test(written) ? null : text
  try {
    const mask = maskSecrets(masked)
    const shown = Buffer.concat([mask.push(text), mask.end()])
    // Texts within it that hold an object once more are more than can be followed.
    return /\\"(?:data|stringdata)\\*"/i.test(shown.toString()) ? null : shown
  } catch {
    // What it holds cannot be told.
    return null
  }
}

/** A body that holds a Secret, as it may be shown and kept. */
export function showSecret(body: Uint8Array): Uint8Array {
  try {
    const mask = maskSecrets(() => undefined)
    return Buffer.concat([mask.push(body), mask.end()])
  } catch {
    // It is not JSON, so that nothing of it can be told from a value.
    return Buffer.from(marker)
  }
}
