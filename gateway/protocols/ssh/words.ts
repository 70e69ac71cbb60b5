import type { Refused } from '../../core/errors.ts'
import type { Message } from '../../core/protocol.ts'

/** A refusal as a line on stderr, without its end. */
export function refusalLine({ why, next }: Refused): string {
  return line(`${why}; ${next}`)
}

/** What core says while a request waits, as a line on stderr. */
export function tellLine(message: Message): string {
  switch (message.kind) {
    case 'waiting': {
      const { url, by, id } = message.approval
      return line(`this waits for ${by.join(' and ')} to approve ${id}: ${url}`)
    }
    case 'approved':
      return line(`approved by ${message.approval.people.join(', ')}`)
    case 'refused':
      return refusalLine(message.refused)
  }
}

/** One line, whatever a client or a host put into it. */
function line(text: string): string {
  return `hoop-access: ${text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, 1000)}`
}
