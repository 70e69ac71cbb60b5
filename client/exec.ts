import { rmSync } from 'node:fs'
import { checkKept, childEnvironment } from './child-environment.ts'
import type { Connected } from './connect.ts'
import { ClientError, printable } from './error.ts'
import { type Held, revoke, viewActivity } from './exchange.ts'
import { type Home, makeHome, removeHome } from './home.ts'
import { makeKey } from './key.ts'
import { type Lease, holdLease } from './lease.ts'
import { inherited, openIdentity, type Opened, type Source } from './open.ts'
import { findHidden } from './hidden.ts'
import { hasProcess } from './process-mark.ts'
import { AGAIN, type Sandbox, findSandbox } from './sandbox.ts'
import { keepAlive } from './renewal.ts'
import { type Running, runCommand } from './run.ts'
import { type Rewrites, readConnections, readDuration, scopeOf } from './scope.ts'
import { writeRenewed } from './settings.ts'
import type { Tell } from './tell.ts'
import type { Transport } from './transport.ts'
import { followApprovals } from './waits.ts'

/** What `exec` runs, and as what. */
export interface ExecOptions {
  readonly command: readonly string[]
  readonly source: Source
  readonly stage: string | undefined
  readonly connections: string | undefined
  /** Variables that are to lead to a connection, besides those of the identity in force. */
  readonly rewrites: Rewrites
  readonly ttl: string | undefined
  readonly approvalTimeout: string | undefined
  /** True to let the command do all that the identity above may, and tell what a narrower one would have refused. */
  readonly auditOnly: boolean
  /** True to keep the command apart from everything of the same user that is not its own. */
  readonly sandbox: boolean
  /** The process that this one stands in for, where its own Node was too old. */
  readonly starter: number | undefined
  /** Platform tokens that the command may see. */
  readonly keepEnv: readonly string[]
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly tell: Tell
}

/** Runs a command under an identity of its own, which ends with it; gives the exit code. */
export async function exec(connected: Connected, options: ExecOptions): Promise<number> {
  const { source, environment } = options
  const parent = source.kind === 'home' ? source.home : null
  // Everything that can be wrong with the call is found before anything is asked for.
  const leaseKey = makeKey()
  const wish = {
    lease: leaseKey.jwk,
    ...(options.auditOnly && { auditOnly: true }),
    scope: scopeOf(options.stage, readConnections(options.connections)),
    ttl: readDuration(options.ttl),
  }
  const timeout = readDuration(options.approvalTimeout)
  checkKept(options.keepEnv)

  using interruption = watchSignals()
  const path = await makeHome(environment)
  // The last resort, for ways out that pass no `finally`: the key must not stay behind.
  const sweep = (): void => rmSync(path, { recursive: true, force: true })
  process.once('exit', sweep)
  const holding: { lease?: Lease } = {}
  try {
    const clean = (settings: Readonly<Record<string, string>>): Record<string, string> =>
      childEnvironment(environment, {
        parentHome: parent?.path ?? null,
        gateway: connected.transport.gateway.origin,
        rewritten: Object.keys(parent?.card.rewrites ?? {}),
        keep: options.keepEnv,
        sandbox: options.sandbox,
        settings,
      })
    const above = parent === null ? [] : [parent.path, ...(parent.card.above ?? [])]
    const sandbox = options.sandbox
      ? findSandbox(() => findHidden({ own: path, above, environment }), clean({}), path)
      : null
    const opened = await openIdentity(connected, path, {
      source,
      wish,
      environment,
      signal: interruption.signal,
      // At once: the gateway does not wait until the settings are written.
      exchanged: ({ token }) => {
        holding.lease = holdLease(connected.transport, { token, key: leaseKey, tell: options.tell })
      },
      // The child keeps those of the parent's variables whose connection it was given, and has those named for it.
      rewrites: ({ connections }) => ({
        ...inherited(parent?.card.rewrites, connections),
        ...options.rewrites,
      }),
    })
    return await attend(connected.transport, opened, {
      ...options,
      path,
      environment: clean(opened.settings),
      sandbox,
      timeout,
      letGo: () => holding.lease?.stop(),
      parent,
      ttl: wish.ttl,
      interrupted: interruption.signal,
    })
  } finally {
    holding.lease?.stop()
    await removeHome(path)
    process.off('exit', sweep)
  }
}

/** Keeps signals from killing us while an identity is there to be ended; before the command runs, they end the preparation. */
function watchSignals(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController()
  const handler = (signal: NodeJS.Signals): void => {
    controller.abort(
      new ClientError('interrupted', `interrupted by ${signal} before the command ran`, 'run it again'),
    )
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const
  for (const signal of signals) process.on(signal, handler)
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const signal of signals) process.off(signal, handler)
    },
  }
}

interface Attendance extends Pick<ExecOptions, 'command' | 'tell' | 'starter' | 'auditOnly'> {
  readonly path: string
  readonly parent: Home | null
  readonly letGo: () => void
  /** Aborted by a signal to us: the command is not begun any more. */
  readonly interrupted: AbortSignal
  /** Seconds that each renewal asks for. */
  readonly ttl: number | undefined
  readonly environment: Readonly<Record<string, string>>
  readonly sandbox: Sandbox | null
  /** Seconds that one approval may wait. */
  readonly timeout: number | undefined
}

/** Runs the command, renews its identity, shows what it waits for, and ends the identity with it. */
async function attend(transport: Transport, { card, held }: Opened, attendance: Attendance): Promise<number> {
  const { path, tell, timeout, parent, ttl } = attendance
  const renewal = keepAlive(transport, {
    held,
    parent,
    ttl,
    until: Date.parse(card.identity.renewable_until),
    tell,
    renewed: (next) => {
      const identity = { ...card.identity, expires_at: new Date(next.expiresAt).toISOString() }
      return writeRenewed(path, { ...card, identity }, next)
    },
  })
  try {
    const { sandbox, interrupted } = attendance
    interrupted.throwIfAborted()
    const running =
      sandbox === null
        ? runCommand(attendance.command, attendance.environment)
        : runApart(sandbox, attendance)
    const starter = watchStarter(attendance.starter)
    let gaveUp = false
    const waits = followApprovals(transport, {
      held: () => renewal.held,
      tell,
      timeout: timeout === undefined ? undefined : timeout * 1000,
      overdue: (approval) => {
        gaveUp = true
        tell(`nobody answered ${approval.id} in time: ending the command`)
        running.kill('SIGTERM')
      },
    })
    try {
      const code = await Promise.race([running.done, starter.gone])
      if (code === null) {
        running.kill('SIGTERM')
        return 125
      }
      return gaveUp ? 4 : code
    } finally {
      starter.stop()
      await waits.stop()
    }
  } finally {
    await renewal.stop()
    if (attendance.auditOnly) await tellObserved(transport, renewal.held, tell)
    attendance.letGo()
    await end(transport, renewal.held, tell)
  }
}

/** Runs a command in its sandbox, again where that was not made: 1 is how the programs that make it say so. */
function runApart(
  sandbox: Sandbox,
  { command, environment, interrupted }: Pick<Attendance, 'command' | 'environment' | 'interrupted'>,
): Running {
  const { ownSession, filter } = sandbox
  const run = (): Running => runCommand(sandbox.wrap(command), environment, { depth: 2, ownSession, filter })
  let running = run()
  const finish = async (): Promise<number> => {
    for (let more = 0; ; more++) {
      const code = await running.done
      if (code !== 1 || more === AGAIN || (await running.begun)) return code
      interrupted.throwIfAborted()
      running = run()
    }
  }
  return { done: finish(), kill: (signal) => running.kill(signal), begun: running.begun }
}

/** Looks whether the process that started this one for its Node version is still there: what kills that one means this one. */
function watchStarter(starter: number | undefined): { readonly gone: Promise<null>; stop(): void } {
  const { promise, resolve } = Promise.withResolvers<null>()
  if (starter === undefined) return { gone: promise, stop: () => undefined }
  // Windows gives nobody another parent: there the number of one that is gone stays.
  const runs = (): boolean => process.ppid === starter && hasProcess(starter)
  const timer = setInterval(() => {
    if (!runs()) resolve(null)
  }, 250)
  timer.unref()
  return { gone: promise, stop: () => clearInterval(timer) }
}

/** What a narrower identity would not have let pass. */
async function tellObserved(transport: Transport, held: Held, tell: Tell): Promise<void> {
  try {
    const { observed = [] } = await viewActivity(transport, held, AbortSignal.timeout(10_000))
    tell(
      observed.length === 0
        ? 'audit-only: nothing would have been refused'
        : `audit-only: this would not have passed, were it enforced:`,
    )
    for (const seen of observed) {
      const { connection, what, effect, why, count } = seen
      const times = count === 1 ? 'once' : `${count} times`
      const outcome = effect === 'deny' ? 'refused' : 'held'
      tell(
        `  ${outcome} ${times}: ${printable(what)} on connection ${printable(connection)}: ${printable(why)}`,
        { observed: seen },
      )
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown error'
    tell(
      `audit-only: what would have been refused is in the recordings, and could not be asked for: ${reason}`,
    )
  }
}

async function end(transport: Transport, held: Held, tell: Tell): Promise<void> {
  try {
    await revoke(transport, held)
  } catch (error) {
    // The command is done and its code is what counts; without its lease the identity ends all the same.
    const reason = error instanceof Error ? error.message : 'unknown error'
    tell(
      `the identity could not be revoked; the gateway ends it by itself, as nobody runs it any more: ${reason}`,
    )
  }
}
