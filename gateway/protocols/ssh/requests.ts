import type { Operation, Request } from '../../core/operation.ts'
import { readCommand } from './command.ts'
import type { RsyncCommand, ScpCommand } from './transfer-command.ts'

/** A request of these operations: SSH has no relations, results or parameters. */
export function requestOf(text: string, operations: readonly Operation[]): Request {
  return {
    text,
    parameters: [],
    meaning: { operations, relations: [], results: [], probes: [], spans: [], parameters: [] },
  }
}

/** A command: its words when it is nothing but words, else any command. */
export function execRequest(command: string): Request {
  return requestOf(command, [
    { actions: ['exec'], resource: '', command: readCommand(command), reads: false },
  ])
}

/** An interactive shell, in which anything may be run. */
export function shellRequest(): Request {
  return requestOf('(interactive shell)', [{ actions: ['shell'], resource: '', command: null, reads: false }])
}

/** A connection from the host on to somewhere else: `HOST:PORT`, or the path of a socket. */
export function forwardRequest(resource: string): Request {
  return requestOf(`forward to ${resource}`, [{ actions: ['forward'], resource, reads: false }])
}

/** Listening on the host, so that who connects there comes to the client: `HOST:PORT`, or the path of a socket. */
export function listenRequest(resource: string): Request {
  return requestOf(`listen on ${resource}`, [{ actions: ['remote-forward'], resource, reads: false }])
}

/**
 * One file or folder that a copy by command takes or gives: an operation on a path, and a command as well, so that
 * rules on either are about it.
 */
export function copyRequest(copy: {
  readonly command: ScpCommand
  readonly path: string
  readonly folder: boolean
}): Request {
  const { command, path, folder } = copy
  const { takes, words } = command
  const verb = takes ? (folder ? 'make folder' : 'write') : folder ? 'list' : 'read'
  return requestOf(`scp: ${verb} ${JSON.stringify(path)}`, [
    {
      actions: [takes ? 'sftp-write' : 'sftp-read', 'exec'],
      resource: path,
      command: words,
      reads: !takes,
    },
  ])
}

/**
 * rsync, which takes or gives paths and all that is below them. It compares before it writes, so that who writes with it
 * reads as well.
 */
export function rsyncRequest(command: RsyncCommand, paths: readonly string[]): Request {
  const { takes, words } = command
  const verb = takes ? 'write' : 'read'
  const actions = takes ? (['sftp-read', 'sftp-write'] as const) : (['sftp-read'] as const)
  const named = paths.map((path) => (path === '/' ? path : path.replace(/\/$/, '')))
  return requestOf(
    `rsync: ${verb} ${named.map((path) => JSON.stringify(path)).join(' and ')} and all below`,
    named.flatMap((path) =>
      actions.flatMap((action) => {
        const common = { actions: [action, 'exec'], command: words, reads: !takes } as const
        return [
          { ...common, resource: path },
          { ...common, resource: path === '/' ? '/**' : `${path}/**`, below: true },
        ]
      }),
    ),
  )
}
