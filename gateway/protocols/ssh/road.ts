import type { Session } from '../../core/protocol.ts'
import type { Upstream } from './dial.ts'
import type { HostPaths } from './host-paths.ts'
import type { Idle } from './idle.ts'

/** What a refused command exits with. */
export const REFUSED_EXIT = 126
/** What a command exits with that was cut: ssh's own code for a connection that failed. */
export const CUT_EXIT = 255

/** What the channels of one connection share. */
export interface Road {
  readonly session: Session
  readonly upstream: Upstream
  /** Asks the host what its paths mean; null when it has no SFTP. */
  readonly paths: () => Promise<HostPaths | null>
  readonly idle: Idle
  /** Aborted when the conversation is over: it has said why. */
  readonly signal: AbortSignal
  /** Ends the conversation: something failed that is no refusal. */
  readonly fail: (error: unknown) => void
}
