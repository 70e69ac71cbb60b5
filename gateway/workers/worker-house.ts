import { createPrivateKey, sign } from 'node:crypto'
import { Socket } from 'node:net'
import { type Logger, pino } from 'pino'
import { GatewayError } from '../core/errors.ts'
import { Gate } from '../core/gate.ts'
import type { House } from '../core/serve.ts'
import { createSecurer } from '../listener/tls.ts'
import { LiveDetectors } from '../live-detectors.ts'
import { InForce } from '../policy/in-force.ts'
import { SessionRecordings } from '../recording/session-recordings.ts'
import { type Relay, createRelay } from '../relay.ts'
import type { Settings } from '../settings.ts'
import type { GatewayCalls, Setup } from './calls.ts'
import { Guests } from './guests.ts'
import type { Line } from './line.ts'

const HANDSHAKE_MS = 10_000

/** What a worker relays with: its own policy, detectors, recordings and TLS; all else is the gateway's. */
export interface WorkerHouse {
  readonly guests: Guests
  readonly relay: Relay
  readonly recordings: SessionRecordings
  /** Carries one client until it is over; never rejects. */
  serve(guest: number, socket: Socket): Promise<void>
  put(settings: Settings): void
  /** Ends connections that are left once `withinMs` is over. */
  close(withinMs: number): Promise<void>
}

/** `mayWrite` does not return once there is no gateway any more. */
export function openWorkerHouse(setup: Setup, line: Line<GatewayCalls>, mayWrite: () => void): WorkerHouse {
  const { number, settings, digestKey, recording, logLevel } = setup
  const log: Logger = pino(
    { name: 'hoop-access', level: logLevel, base: { worker: number } },
    pino.destination(2),
  )
  const inForce = new InForce(settings.config)
  const detectors = new LiveDetectors(settings)
  const guests = new Guests(line)
  const securer = createSecurer(settings.tls, HANDSHAKE_MS)
  const key = createPrivateKey({ key: recording.privateJwk, format: 'jwk' })
  const recordings = new SessionRecordings({
    dir: recording.dir,
    keys: { kid: recording.kid, sign: (bytes) => sign(null, bytes, key) },
    registrar: {
      began: (session, head) => line.ask('recordingBegan', { session, head }),
      ended: (head, why) => line.ask('recordingEnded', { head, why }),
    },
    mayWrite,
    log,
  })
  const relay = createRelay({
    digestKey,
    readSecret: detectors.readSecret,
    async secure(socket) {
      if (!(socket instanceof Socket)) throw new GatewayError('internal', 'TLS is made on sockets')
      const secured = await securer.secureLate(socket)
      secured.on('error', () => secured.destroy())
      secured.once('close', () => socket.destroy())
      return secured
    },
    spread: (news) => line.ask('spread', news),
  })
  const gate = new Gate(() => inForce.policy, digestKey)
  const open = new Set<Socket>()
  let empty: (() => void) | null = null

  return {
    guests,
    relay,
    recordings,
    async serve(guest, socket) {
      open.add(socket)
      const house: House = {
        ...guests.receive(guest),
        gate,
        detectors,
        recordings: {
          open: (start) => recordings.open(start),
          note: (event) => {
            // A worker tells of nothing else: what the ledger holds beside is the gateway's.
            if (event.kind === 'refused') line.tell('refused', event)
          },
        },
        now: Date.now,
        log,
      }
      await relay.serve(socket, house)
      if (!socket.destroyed) await new Promise<void>((closed) => void socket.once('close', () => closed()))
      open.delete(socket)
      guests.leave(guest)
      if (open.size === 0) empty?.()
    },
    put(next) {
      inForce.replace(next.config)
      detectors.prepare(next)()
      securer.setCertificate(next.tls)
      guests.sessions.recheck()
    },
    async close(withinMs) {
      if (open.size > 0) {
        const timer = setTimeout(() => {
          for (const socket of open) socket.destroy()
        }, withinMs)
        await new Promise<void>((resolve) => {
          empty = resolve
        })
        clearTimeout(timer)
      }
      securer.close()
      await relay.close()
    },
  }
}
