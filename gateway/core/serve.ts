import type { Duplex } from 'node:stream'
import type { Approvals } from '../approvals/approval.ts'
import type { Recorder, Recordings } from '../recording/event.ts'
import { GatewayError, Refused, asRefused } from './errors.ts'
import type { Gate, Grant } from './gate.ts'
import { type Identity, type Proof, chainOf } from './identity.ts'
import type { LiveEntry, LiveSessions } from './live-sessions.ts'
import type { Request } from './operation.ts'
import type { Observations } from './observations.ts'
import type { Conversation, Protocol } from './protocol.ts'
import { type Detectors, LiveSession } from './session.ts'

/** Everything that a connection meets on its way through the gateway. */
export interface House {
  readonly gate: Gate
  readonly identities: {
    /** Rejects with `Refused`: `unauthenticated`, `identity_ended`, `identity_expired`. */
    identify(proof: Proof): Promise<Identity>
    /** The gateway-signed statement of one level, for the record. */
    statement(identity: Identity): Promise<string>
  }
  readonly approvals: Approvals
  readonly detectors: Detectors
  readonly observations: Pick<Observations, 'note'>
  readonly recordings: Pick<Recordings, 'open' | 'note'>
  readonly sessions: LiveSessions
  /** Milliseconds since the epoch, by which identities expire. */
  readonly now: () => number
  /** Told when a client has proved who it is, so that it no longer counts against the limits of those that have not. */
  settled(client: Duplex): void
  readonly log: { warn(fields: object, message: string): void; error(fields: object, message: string): void }
}

const GREETING_MS = 30_000
/** What runs when an identity expires may go on this long. */
const EXPIRY_GRACE_MS = 60_000

/**
 * One client connection from its first byte to its last: greet, identify, admit, dial, relay.
 * Each step needs what the step before gave it, and every way out leaves a record. Never rejects.
 */
export async function serve(protocol: Protocol, client: Duplex, house: House): Promise<void> {
  const address =
    'remoteAddress' in client && typeof client.remoteAddress === 'string' ? client.remoteAddress : null
  let conversation: Conversation | null = null
  let identity: Identity | null = null
  try {
    conversation = await protocol.greet(client, AbortSignal.timeout(GREETING_MS))
    if (conversation === null) return
    identity = await house.identities.identify(conversation.hello.proof)
    house.settled(client)
    await attend({ protocol: protocol.name, conversation, identity, address }, house)
  } catch (error) {
    const refused = noteRefusal(error, { protocol: protocol.name, address, identity }, house)
    await conversation?.tell({ kind: 'refused', refused })
  } finally {
    closeSoon(conversation?.client ?? client)
  }
}

/** Puts into the ledger that somebody was refused before there was a session, and gives what they may be told. */
export function noteRefusal(
  error: unknown,
  who: { readonly protocol: string; readonly address: string | null; readonly identity: Identity | null },
  house: Pick<House, 'recordings' | 'log'>,
): Refused {
  const { protocol, address, identity } = who
  const refused = asRefused(error)
  if (refused.code === 'internal') house.log.error({ err: error, protocol }, 'connection failed')
  try {
    house.recordings.note({
      kind: 'refused',
      protocol,
      code: refused.code,
      why: refused.why,
      client: address,
      identity: identity?.id ?? null,
    })
  } catch (failed) {
    // Refused it is all the same; the next session is not let in while its record cannot be kept.
    house.log.error({ err: failed, protocol }, 'a refusal could not be recorded')
  }
  return refused
}

/**
 * The same from where it is known who asks: what `serve` goes on with, and where protocols begin that prove it in every
 * request. Rejects with `Refused` when no session came about; from then on what happens is in the session's own recording, and
 * how it ends is told to the conversation.
 */
export async function attend(
  known: {
    readonly protocol: string
    readonly conversation: Conversation
    readonly identity: Identity
    readonly address: string | null
  },
  house: House,
): Promise<void> {
  const { conversation, identity, address } = known
  const grant = house.gate.admit(identity, conversation.hello.connection)
  const entry = await house.sessions.begin(identity, conversation.hello.connection, known.protocol)
  const ending = new AbortController()
  const { signal } = ending
  const revoked = (): void => ending.abort(identity.ended.reason)
  let recorder: Recorder | null = null
  let session: LiveSession | null = null
  let why = 'client left'
  identity.ended.addEventListener('abort', revoked)
  if (identity.ended.aborted) revoked()
  house.sessions.watch(entry, {
    look: () => {
      const over = house.gate.lapse(grant) ?? expiry(identity, house.now())
      if (over !== null) ending.abort(over)
    },
    end: (reason) => ending.abort(reason),
  })
  try {
    recorder = await house.recordings.open(await describe({ entry, grant, conversation, address, house }))
    session = new LiveSession({ house, recorder, entry, grant, conversation, ending: signal })
    if (conversation.hello.request !== null)
      await decideFirst(session, conversation, conversation.hello.request)
    await session.dial(signal)
    await conversation.relay(session, signal)
  } catch (error) {
    const refused = asRefused(error)
    why = `${refused.code}: ${refused.why}`
    if (refused.code === 'internal') {
      why = error instanceof GatewayError ? `${error.code}: ${error.message}` : why
      house.log.error({ err: error, session: entry.id }, 'session failed')
    } else if (refused.code.startsWith('upstream_') && refused.cause !== undefined) {
      // The client is told nothing of the inside; who runs the gateway has to find out somewhere.
      house.log.warn({ err: refused.cause, session: entry.id }, 'the target failed')
    }
    // The target is let go of first: a last word may take a while to be heard.
    session?.hangUp()
    await conversation.tell({ kind: 'refused', refused })
  } finally {
    identity.ended.removeEventListener('abort', revoked)
    // Whatever still waits for people is withdrawn with the session.
    ending.abort(new Refused('identity_ended', 'the session is over', 'connect again'))
    session?.hangUp()
    await session?.settled()
    await finish(entry, recorder, why, house)
  }
}

/** Nobody reads the client yet: one that leaves while its greeting is held has to be noticed here. */
async function decideFirst(session: LiveSession, { client }: Conversation, request: Request): Promise<void> {
  const left = new AbortController()
  const leave = (): void =>
    left.abort(
      new Refused('approval_withdrawn', 'the request was withdrawn: the client left', 'connect again'),
    )
  // An end is only seen by who asks for more; bytes that came stay for the relay.
  const look = (): void => {
    if (client.readableLength === 0) client.read()
  }
  client.on('readable', look)
  client.once('end', leave)
  client.once('close', leave)
  try {
    await session.decide(request, left.signal)
  } finally {
    client.off('readable', look)
    client.off('end', leave)
    client.off('close', leave)
  }
}

async function describe({
  entry,
  grant,
  conversation,
  address,
  house,
}: {
  entry: LiveEntry
  grant: Grant
  conversation: Conversation
  address: string | null
  house: House
}): Promise<Parameters<Recordings['open']>[0]> {
  const chain = chainOf(grant.identity)
  return {
    kind: 'start',
    session: entry.id,
    protocol: entry.protocol,
    connection: entry.connection,
    chain: await Promise.all(
      chain.map(async (node) => ({
        id: node.id,
        stage: node.stage,
        thumbprint: node.thumbprint,
        ...(node.auditOnly && { auditOnly: true as const }),
        statement: await house.identities.statement(node),
      })),
    ),
    origin: grant.identity.origin,
    policy: grant.policy.version,
    agent: conversation.hello.agent,
    client: address,
  }
}

async function finish(entry: LiveEntry, recorder: Recorder | null, why: string, house: House): Promise<void> {
  try {
    await recorder?.close({ kind: 'end', why, ...entry.counts })
  } catch (error) {
    house.log.error({ err: error, session: entry.id }, 'the end of a recording could not be kept')
  }
  try {
    await house.sessions.finish(entry, why)
  } catch (error) {
    house.log.error({ err: error, session: entry.id }, 'the end of a session could not be stored')
  }
}

/** Why what an identity has running ends now, when it is over for longer than the grace. */
function expiry({ id, expiresAt }: Identity, now: number): Refused | null {
  if (now < expiresAt + EXPIRY_GRACE_MS) return null
  return new Refused(
    'identity_expired',
    `identity ${id} expired at ${new Date(expiresAt).toISOString()}`,
    'renew it before it expires, or ask for a longer ttl',
  )
}

/** Ends a client's stream once what was written is out, or after 5 s if it does not read. */
function closeSoon(client: Duplex): void {
  const timer = setTimeout(() => client.destroy(), 5000)
  client.once('close', () => clearTimeout(timer))
  client.once('finish', () => client.destroy())
  client.end()
}
