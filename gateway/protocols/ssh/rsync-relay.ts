import type { ClientChannel, ServerChannel } from 'ssh2'
import type { Permit } from '../../core/gate.ts'
import type { Lane } from '../../core/protocol.ts'
import type { HostPaths } from './host-paths.ts'
import type { Idle } from './idle.ts'
import { type Between, type Exit, carry, straight } from './pump.ts'
import { RsyncOpening } from './rsync-opening.ts'
import type { RsyncCommand } from './transfer-command.ts'

/** Carries rsync, whose paths have been decided: nothing that its client begins with leads to others. */
export function carryRsync(
  parts: {
    readonly lane: Lane
    readonly permit: Permit
    readonly client: ServerChannel
    readonly upstream: ClientChannel
    readonly idle: Idle
  },
  command: RsyncCommand,
): Promise<Exit> {
  const through = straight(parts)
  if (!command.filters) return carry(parts, through)
  const opening = new RsyncOpening(command.names)
  const between: Between = {
    ...through,
    forward: (chunk) => {
      const free = opening.client(chunk)
      return free.length === 0 || through.forward(free)
    },
    reply: (chunk) => {
      opening.host(chunk)
      return through.reply(chunk)
    },
  }
  return carry(parts, between)
}

/**
 * The paths that rsync acts on, resolved by the host, with the slash that means what is in a folder; null when the host
 * knows one of them not. What it gives it does not follow where the last part is a link; where it puts things it does.
 */
export async function resolveRsync(command: RsyncCommand, paths: HostPaths): Promise<string[] | null> {
  const resolved: string[] = []
  for (const path of command.paths) {
    const inside = /(^|\/)(|\.|\.\.)$/.test(path)
    const found = await paths.resolve(path, inside || command.takes)
    if (found === null) return null
    resolved.push(inside && found !== '/' ? `${found}/` : found)
  }
  return resolved
}
