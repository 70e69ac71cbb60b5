import { z } from 'zod'
import { durationForm } from './duration.ts'

// What values in hoop.yaml look like.

/** What names of stages, connections, masks, people and the like look like. */
export const nameForm = /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/

export const name = z
  .string()
  .regex(nameForm, 'a name is 1 to 63 of a-z, 0-9, `-` and `_`, starting and ending with a letter or digit')
export const duration = z
  .string()
  .regex(durationForm, 'a duration is a number and s, m, h or d: 30s, 15m, 2h')
export const days = z
  .string()
  .regex(/^[1-9][0-9]{0,4}d$/, 'this is a number of whole days, one at least: 30d, 90d, 365d')
export const address = z
  .string()
  .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]*):[0-9]{1,5}$/, 'an address is HOST:PORT, such as 0.0.0.0:8443')
export const port = z.int().min(1).max(65_535)
export const text = z.string().min(1)
export const url = z.url({
  protocol: /^https?$/,
  error: 'must be an https: URL (http: on a loopback address only)',
})
/** Bounded, because matching takes time in proportion to it. */
export const pattern = z.string().min(1).max(256)

/** The form of a secret that names a file: also how secrets are told from other values (see secret.ts). */
export const secretFile = z.strictObject({
  file: text.describe('A path, relative to hoop.yaml; read when it is used'),
})
export const secret = z.union([text, secretFile], { error: 'must be text, `${NAME}` or `{ file: PATH }`' })

export const allowPrivate = z
  .boolean()
  .optional()
  .describe('Needed for an issuer on a private or loopback address, which is refused otherwise')
