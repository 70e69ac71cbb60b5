import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TLSSocket, connect } from 'node:tls'

// Frames as RFC 9113 §4.1 draws them, so that a client can send what no library sends:
//
//     | length 24 | type 8 | flags 8 | stream 32 | payload |

export const types = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  promise: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const

export const flags = { endStream: 1, ack: 1, endHeaders: 4, padded: 8 } as const

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

export function frame(
  type: number,
  flag: number,
  stream: number,
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.byteLength, 0, 3)
  head[3] = type
  head[4] = flag
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** SETTINGS with one of them. */
export function setting(name: number, value: number): Buffer {
  return frame(types.settings, 0, 0, Buffer.concat([Buffer.from([0, name]), uint32(value)]))
}

/** An integer whose first byte has `bits` of it (RFC 7541 §5.1). */
function integer(first: number, bits: number, value: number): number[] {
  const most = (1 << bits) - 1
  if (value < most) return [first | value]
  const bytes = [first | most]
  let rest = value - most
  for (; rest >= 128; rest >>= 7) bytes.push((rest & 127) | 128)
  return [...bytes, rest]
}

/** One field as a literal that no table keeps, or `keep` does (RFC 7541 §6.2): whatever bytes it is of. */
export function field(name: string, value: string, keep = false): Buffer {
  const text = (given: string): Buffer => {
    const bytes = Buffer.from(given, 'latin1')
    return Buffer.concat([Buffer.from(integer(0, 7, bytes.byteLength)), bytes])
  }
  return Buffer.concat([Buffer.from([keep ? 0x40 : 0]), text(name), text(value)])
}

export type Fields = readonly (readonly [name: string, value: string])[]

export function block(fields: Fields): Buffer {
  return Buffer.concat(fields.map(([name, value]) => field(name, value)))
}

/** What a request begins with that has nothing wrong. */
export function request(method: string, path: string, port: number): [string, string][] {
  return [
    [':method', method],
    [':scheme', 'https'],
    [':authority', `localhost:${port}`],
    [':path', path],
  ]
}

/** A connection of HTTP/2 that knows nothing but frames. */
export interface RawConnection {
  readonly socket: TLSSocket
  readonly frames: Frame[]
  readonly send: (...bytes: readonly Uint8Array[]) => void
  /** One request on a stream of its own; gives the stream. */
  open(fields: Fields, flag?: number): number
  /** Resolves at the first frame that it is true of, or rejects when the connection is over before. */
  readonly until: (found: (one: Frame) => boolean) => Promise<Frame>
  /** Resolves once the gateway has closed it. */
  readonly closed: Promise<void>
}

/** What came of a stream: its body, and how it was broken off. */
export interface Outcome {
  readonly body: string
  /** The code of RST_STREAM or GOAWAY, or that the connection was closed without one; null for an end. */
  readonly broken: number | 'closed' | null
}

/** Connects; `home` holds the client's certificate, which is left out without `certified`. */
export async function dial(
  { port, home }: { port: number; home: string },
  { certified = true, settings = frame(types.settings, 0, 0) } = {},
): Promise<RawConnection> {
  const [ca, cert, key] = await Promise.all(
    ['ca.pem', 'client.crt', 'client.key'].map((name) => readFile(join(home, name), 'utf8')),
  )
  const socket = connect({
    host: '127.0.0.1',
    servername: 'localhost',
    port,
    ca: ca ?? '',
    ALPNProtocols: ['h2'],
    ...(certified && { cert: cert ?? '', key: key ?? '' }),
  })
  socket.on('error', () => undefined)
  await once(socket, 'secureConnect')
  const frames: Frame[] = []
  const waiting = new Set<() => void>()
  const tell = (): void => {
    for (const look of waiting) look()
  }
  let seen: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    seen = Buffer.concat([seen, chunk])
    while (seen.byteLength >= 9 && seen.byteLength >= 9 + seen.readUIntBE(0, 3)) {
      const end = 9 + seen.readUIntBE(0, 3)
      const [type = 0, flag = 0] = [seen[3], seen[4]]
      frames.push({ type, flags: flag, stream: seen.readUInt32BE(5), payload: seen.subarray(9, end) })
      seen = seen.subarray(end)
    }
    tell()
  })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  void closed.then(tell)
  let next = 1
  const connection: RawConnection = {
    socket,
    frames,
    closed,
    send: (...bytes) => void (socket.destroyed || socket.write(Buffer.concat(bytes))),
    open(fields, flag = flags.endStream | flags.endHeaders) {
      const stream = next
      next += 2
      connection.send(frame(types.headers, flag, stream, block(fields)))
      return stream
    },
    until: (found) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const one = frames.find(found)
          if (one === undefined && !socket.destroyed) return
          waiting.delete(look)
          if (one === undefined) reject(new Error('the connection was closed'))
          else resolve(one)
        }
        waiting.add(look)
        look()
      }),
  }
  connection.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings)
  return connection
}

/** Waits for what comes of a stream. */
export async function outcome({ until, frames }: RawConnection, stream: number): Promise<Outcome> {
  const body = (): string =>
    Buffer.concat(
      frames.filter((one) => one.type === types.data && one.stream === stream).map(({ payload }) => payload),
    ).toString()
  try {
    const last = await until(
      (one) =>
        (one.stream === stream &&
          (one.type === types.reset ||
            ((one.type === types.data || one.type === types.headers) &&
              (one.flags & flags.endStream) !== 0))) ||
        (one.type === types.goaway && one.payload.readUInt32BE(4) !== 0),
    )
    if (last.type === types.reset) return { body: body(), broken: last.payload.readUInt32BE(0) }
    if (last.type === types.goaway) return { body: body(), broken: last.payload.readUInt32BE(4) }
    return { body: body(), broken: null }
  } catch {
    return { body: body(), broken: 'closed' }
  }
}
