import { createHmac } from 'node:crypto'
import { Refused } from '../../core/errors.ts'
import { sameText } from '../../identity/client-key.ts'

// Standard Webhooks 1.0.0: `v1,` and the base64 of HMAC-SHA-256 over `ID.TIMESTAMP.BODY`.

const TOLERANCE_S = 300

/** The bytes of a `whsec_…` secret; throws `Refused` when it is none, or shorter than 24 bytes. */
export function keyOf(secret: string): Buffer {
  const [, encoded] = /^whsec_([\w+/=-]+)$/.exec(secret) ?? []
  const key = Buffer.from(encoded ?? '', 'base64')
  if (key.byteLength >= 24 && key.byteLength <= 64) return key
  throw new Refused(
    'upstream_failed',
    'the secret of the webhook is not whsec_ and 24 to 64 bytes in base64',
    'make one: echo whsec_$(openssl rand -base64 32)',
  )
}

/** The headers of a message, signed now. */
export function sign(
  message: { readonly id: string; readonly body: string },
  key: Buffer,
  now: number,
): Record<string, string> {
  const time = String(Math.floor(now / 1000))
  return {
    'webhook-id': message.id,
    'webhook-timestamp': time,
    'webhook-signature': `v1,${mac(message.id, time, Buffer.from(message.body), key)}`,
  }
}

/** True when one of the signatures is this key's, and the time is within five minutes of now. */
export function verify(
  headers: Readonly<Record<string, string | undefined>>,
  body: Buffer,
  key: Buffer,
  now: number,
): boolean {
  const { 'webhook-id': id = '', 'webhook-timestamp': time = '', 'webhook-signature': given = '' } = headers
  if (!/^[\w.:-]{1,256}$/.test(id) || !/^\d{1,12}$/.test(time)) return false
  if (Math.abs(now / 1000 - Number(time)) > TOLERANCE_S) return false
  const wanted = `v1,${mac(id, time, body, key)}`
  // Several, separated by spaces, while the other side changes its secret.
  return given
    .split(' ')
    .slice(0, 8)
    .some((one) => sameText(one, wanted))
}

function mac(id: string, time: string, body: Buffer, key: Buffer): string {
  return createHmac('sha256', key).update(`${id}.${time}.`).update(body).digest('base64')
}
