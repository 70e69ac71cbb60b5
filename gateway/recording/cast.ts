import { StringDecoder } from 'node:string_decoder'

/** One terminal session as an asciicast, version 2: a line of header, then a line an event. */
export interface Cast {
  /** Takes the events of one channel in their order; gives the lines that they make. `at` in milliseconds since the epoch. */
  take(event: Record<string, unknown>, at: number): string[]
}

/** Makes an asciicast of what a channel's `lane` events hold; error output counts as output, since a terminal has one screen. */
export function createCast(): Cast {
  const decoders = {
    i: new StringDecoder('utf8'),
    o: new StringDecoder('utf8'),
    e: new StringDecoder('utf8'),
  }
  let begun = 0
  const line = (at: number, code: string, data: string): string[] =>
    data === '' ? [] : [JSON.stringify([Math.max(0, at - begun) / 1000, code, data])]
  return {
    take(event, at) {
      switch (event.what) {
        case 'opened': {
          begun = at
          const terminal: Record<string, unknown> = Object(event.terminal)
          const [width, height] = [size(terminal.columns, 80), size(terminal.rows, 24)]
          const env = typeof terminal.type === 'string' ? { env: { TERM: terminal.type } } : {}
          return [JSON.stringify({ version: 2, width, height, timestamp: Math.floor(at / 1000), ...env })]
        }
        case 'data': {
          const code = event.code === 'i' || event.code === 'e' ? event.code : 'o'
          const text = decoders[code].write(Buffer.from(String(event.data), 'base64'))
          return line(at, code === 'i' ? 'i' : 'o', text)
        }
        case 'resized':
          return line(at, 'r', `${size(event.columns, 80)}x${size(event.rows, 24)}`)
        default:
          return []
      }
    },
  }
}

function size(value: unknown, otherwise: number): number {
  return typeof value === 'number' && value > 0 && value < 10_000 ? value : otherwise
}
