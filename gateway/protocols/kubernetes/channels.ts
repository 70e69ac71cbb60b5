import { asRefused } from '../../core/errors.ts'
import type { Tunnel } from '../../http-relay/tunnel.ts'
import { memberOf } from './bodies.ts'
import { type WiredLane, broken, openWired, untilAborted } from '../../http-relay/wire.ts'
import { failure } from './words.ts'

// exec and attach (k8s.io/apimachinery/pkg/util/remotecommand): every message is a byte that names the channel, then
// what belongs to it. Version 5 lets the client close a channel:
//
//     | channel 1 | bytes |          | 255 | channel that ends |

const channels = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const

/** How long the server may take to close after it said how the program ended. */
const CLOSING_MS = 1000

/** How many new sizes of a terminal are put on record. */
const RESIZES_KEPT = 1000

type Parts = Parameters<Tunnel['carry']>[0] & {
  /** `exec` or `attach`. */
  readonly name: string
  readonly terminal: boolean
}

/** Carries a program's streams, what it says masked and all of it recorded, until it ends or the client leaves. */
export async function carryChannels(parts: Parts): Promise<void> {
  const { permit, redact, signal, name, terminal } = parts
  const wired = await openWired(
    parts,
    {
      name,
      content: 'text',
      maskInput: true,
      ...(terminal && { terminal: { type: 'xterm', columns: 80, rows: 24 } }),
    },
    {
      out: Uint8Array.of(channels.stdout),
      err: Uint8Array.of(channels.stderr),
      upstream: Uint8Array.of(channels.stdin),
    },
  )
  await between({ ...wired, permit, redact, signal })
}

async function between(parts: WiredLane & Pick<Parts, 'permit' | 'redact' | 'signal'>): Promise<void> {
  const { lane, permit, client, upstream, protocol, endInput, redact, signal } = parts
  let inputEnded = false
  let resizes = 0
  let status: Buffer | null = null
  const ended = Promise.withResolvers<void>()
  let timer: NodeJS.Timeout | null = null

  const fromUpstream = (message: Buffer): boolean => {
    const channel = message[0] ?? Number.NaN
    const bytes = message.subarray(1)
    switch (channel) {
      case channels.stdout:
      case channels.stderr:
        // Empty ones tell that the stream is there.
        if (bytes.byteLength === 0) return client.send(message)
        return lane.reply(bytes, channel === channels.stderr ? 'err' : 'out')
      case channels.error:
        if (bytes.byteLength === 0) return client.send(message)
        status = bytes
        timer ??= setTimeout(() => ended.resolve(), CLOSING_MS)
        return true
      default:
        throw broken('the cluster used a channel that it has not')
    }
  }
  const fromClient = (message: Buffer): boolean => {
    const channel = message[0] ?? Number.NaN
    const bytes = message.subarray(1)
    switch (channel) {
      case channels.stdin:
        if (inputEnded) throw broken('the client goes on with what it closed')
        return bytes.byteLength === 0 || lane.forward(permit, bytes)
      case channels.resize:
        if (resizes++ < RESIZES_KEPT) lane.note({ what: 'resized', ...sizeIn(bytes) })
        else sizeIn(bytes)
        return upstream.send(message)
      case channels.close:
        if (protocol !== 'v5.channel.k8s.io' || bytes.byteLength !== 1 || bytes[0] !== channels.stdin)
          throw broken('the client closes what it cannot close')
        inputEnded = true
        endInput(message)
        return true
      default:
        throw broken('the client used a channel that it has not')
    }
  }
  try {
    await Promise.race([
      untilAborted(signal),
      ended.promise,
      upstream.read(fromUpstream, () => lane.drained('client')),
      // Sizes go beside the lane.
      client.read(fromClient, () => lane.drained('upstream').then(() => upstream.drained())),
    ])
    lane.end(status === null ? null : exitIn(status))
    if (status !== null) client.send(Uint8Array.of(channels.error), redact(status) ?? status)
    // Without a word of how the program ended, 1000 would be taken for success.
    client.close(status === null ? 1011 : 1000, status === null ? 'the stream broke off' : '')
  } catch (error) {
    const refused = asRefused(error)
    lane.end(null)
    // It is the only channel on which a client hears why.
    client.send(Uint8Array.of(channels.error), Buffer.from(JSON.stringify(failure(refused, 403))))
    client.close(1000, '')
    throw error
  } finally {
    if (timer !== null) clearTimeout(timer)
    upstream.close(1000, '')
  }
}

/** What a terminal's new size says: `{"Width":80,"Height":24}`. */
function sizeIn(bytes: Buffer): { columns: number; rows: number } {
  const size = parse(bytes)
  const [columns, rows] = [memberOf(size, 'Width'), memberOf(size, 'Height')].map(Number)
  const fits = (value: number | undefined): value is number =>
    Number.isInteger(value) && value !== undefined && value >= 0 && value <= 65_535
  if (!fits(columns) || !fits(rows)) throw broken('the size of its terminal is none')
  return { columns, rows }
}

/** The exit status that a program's `Status` tells. */
function exitIn(bytes: Buffer): number | null {
  const status = parse(bytes)
  if (memberOf(status, 'status') === 'Success') return 0
  const causes = memberOf(memberOf(status, 'details'), 'causes')
  const exit = Array.isArray(causes) ? causes.find((cause) => memberOf(cause, 'reason') === 'ExitCode') : null
  const code = Number(memberOf(exit, 'message'))
  return Number.isInteger(code) ? code : null
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch (cause) {
    throw broken(`a message of it is no JSON (${cause instanceof Error ? cause.name : 'error'})`)
  }
}
