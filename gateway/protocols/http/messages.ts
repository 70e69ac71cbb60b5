import { Refused, asRefused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Request } from '../../core/operation.ts'
import type { Tunnel } from '../../http-relay/tunnel.ts'
import { untilAborted } from '../../http-relay/wire.ts'
import { opcodes } from '../../http-relay/websocket.ts'
import { type MaskText, maskFields } from './masked-answers.ts'
import { MessageEnds } from './message-ends.ts'

/** What is kept of each direction in the record, in bytes. */
const KEPT = 65_536
/** RFC 6455 §7.4.1. */
const closes = { normal: 1000, unsupported: 1003, policy: 1008 } as const

/**
 * A WebSocket between a client and an API: each message is whole before it passes, is searched and masked by itself, and recorded,
 * both ways. Binary ones pass only where a rule says `WEBSOCKET-BINARY`, and nowhere that fields are masked.
 */
export function websocketTunnel(binary: Request, maskText: MaskText): Tunnel {
  return {
    protocols: 'any',
    async carry({ session, permit, connect, signal }) {
      const mayBinary =
        permit.fields.length === 0 &&
        session.check(binary.meaning) === null &&
        !session.holds(binary.meaning) &&
        (await session.decide(binary, signal)) !== null
      const ends = new MessageEnds()
      const lane = await session.lane(permit, {
        name: 'websocket',
        content: 'text',
        kept: KEPT,
        maskInput: true,
        messages: true,
        client: ends.laneClient,
        open: async () => ends.open(await connect()),
      })
      const { client, upstream } = ends.wires
      const checked = (message: Buffer, opcode: number): void => {
        if (opcode === opcodes.binary && !mayBinary)
          throw new Refused(
            'unsupported',
            'a binary message came',
            'send text, or ask for a rule with WEBSOCKET-BINARY',
          )
      }
      const toClient = (message: Buffer, opcode: number): boolean => {
        checked(message, opcode)
        // An empty message is one, too.
        if (message.byteLength === 0) return client.sendAs(opcode, message)
        ends.toClient = opcode
        return lane.reply(opcode === opcodes.text ? masked(permit, message, maskText) : message)
      }
      const toUpstream = (message: Buffer, opcode: number): boolean => {
        checked(message, opcode)
        if (message.byteLength === 0) return upstream.sendAs(opcode, message)
        ends.toUpstream = opcode
        return lane.forward(permit, message)
      }
      let code: number = closes.normal
      try {
        await Promise.race([
          untilAborted(signal),
          upstream.read(toClient, () => lane.drained('client')),
          // Empty messages go beside the lane.
          client.read(toUpstream, () => lane.drained('upstream').then(() => upstream.drained())),
        ])
        code = upstream.goodbye ?? closes.normal
      } catch (error) {
        const { code: reason } = asRefused(error)
        code = reason === 'unsupported' ? closes.unsupported : closes.policy
        throw error
      } finally {
        lane.end(code)
        client.close(code, '')
        upstream.close(client.goodbye ?? closes.normal, '')
      }
    },
  }
}

/** A message of an answer whose fields are masked has to be JSON. */
function masked({ fields }: Permit, message: Buffer, maskText: MaskText): Uint8Array {
  const filter = maskFields(fields, 'application/json', maskText, () => undefined)
  return filter === null ? message : Buffer.concat([filter.push(message), filter.end()])
}
