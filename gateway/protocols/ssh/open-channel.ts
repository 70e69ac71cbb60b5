import type { Channel } from 'ssh2'
import { Refused } from '../../core/errors.ts'
import { takesTooLittle, writeCarefully } from './careful-writes.ts'

/** A channel, once the other side has opened it. Rejects with `Refused` `upstream_failed`. */
export function opened<Any extends Channel>(
  open: (done: (error: Error | undefined, channel: Any) => void) => void,
): Promise<Any> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: unknown): void =>
      reject(
        new Refused(
          'upstream_failed',
          'the host did not open the channel',
          'try again; the host may limit sessions or forwarding',
          { cause },
        ),
      )
    try {
      open((error, channel) => {
        if (error !== undefined) return refuse(error)
        if (takesTooLittle(channel)) return refuse(new Error('it takes no packets of a usual length'))
        return resolve(writeCarefully(channel))
      })
    } catch (error) {
      refuse(error)
    }
  })
}
