import type {
  ClientChannel,
  PseudoTtyInfo,
  ServerChannel,
  Session as SshSession,
  WindowChangeInfo,
} from 'ssh2'
import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Request } from '../../core/operation.ts'
import type { Lane, LanePlan, Message } from '../../core/protocol.ts'
import { ClientEnd } from './client-end.ts'
import { mayBeSet } from './environment.ts'
import { carryGit } from './git-watch.ts'
import { opened } from './open-channel.ts'
import { type Exit, carry, straight } from './pump.ts'
import { copyRequest, execRequest, requestOf, rsyncRequest, shellRequest } from './requests.ts'
import { REFUSED_EXIT, type Road } from './road.ts'
import { carryRsync, resolveRsync } from './rsync-relay.ts'
import { type ScpParts, carryScp } from './scp-relay.ts'
import { carrySftp } from './sftp-relay.ts'
import { type RsyncCommand, readRsync, readScp } from './transfer-command.ts'
import { Unseen } from './unseen.ts'
import { refusalLine, tellLine } from './words.ts'

/** Variables that one channel may set. */
const MOST_VARIABLES = 32

type Copy = Pick<ScpParts, 'command' | 'paths' | 'root' | 'into'>

/** What a client asks of one channel. */
type Asked =
  | { readonly kind: 'exec'; readonly command: string }
  | { readonly kind: 'shell' }
  | { readonly kind: 'sftp' }
  /** A command, as `exec`, whose paths the host has resolved. */
  | { readonly kind: 'scp'; readonly command: string; readonly copy: Copy }
  | {
      readonly kind: 'rsync'
      readonly command: string
      readonly rsync: RsyncCommand
      readonly paths: string[]
    }
  | { readonly kind: 'unknown'; readonly name: string }

/** To the client it says nothing by itself: OpenSSH asks for no answer. */
const noAgent = new Refused(
  'unsupported',
  'agent forwarding is refused: a key that a host may use is a key that it has',
  'use ssh without -A (ForwardAgent no)',
)

/** One session channel: what it asks first (terminal, variables), and the one thing that it then does. */
export class SessionChannel {
  readonly #road: Road
  readonly #session: SshSession
  readonly #track: (end: ClientEnd) => void
  readonly #environment: Record<string, string> = {}
  #terminal: PseudoTtyInfo | null = null
  #agent = false
  #x11 = false
  #live: { lane: Lane; upstream: ClientChannel } | null = null

  constructor(road: Road, session: SshSession, track: (end: ClientEnd) => void) {
    this.#road = road
    this.#session = session
    this.#track = track
  }

  listen(): void {
    const session = this.#session
    session.on('pty', (accept, reject, info) => {
      if (this.#live !== null || !/^[\w.+-]{0,64}$/.test(info.term)) return reject?.()
      this.#terminal = info
      accept?.()
    })
    session.on('env', (accept, reject, { key, val }: { key: string; val: string }) => {
      if (Object.keys(this.#environment).length >= MOST_VARIABLES || !mayBeSet(key, val)) return reject?.()
      this.#environment[key] = val
      accept?.()
    })
    session.on('window-change', (accept, _reject, info) => {
      this.#resize(info)
      accept?.()
    })
    session.on('signal', (accept, reject, { name }) => {
      if (this.#live === null || !/^[A-Z0-9]{1,16}$/.test(name)) return reject?.()
      this.#live.lane.note({ what: 'signal', name })
      this.#live.upstream.signal(name)
      accept?.()
    })
    session.on('auth-agent', (_accept, reject) => {
      // Once is enough: a client may ask without end.
      if (!this.#agent) this.#road.session.refuse('agent forwarding', noAgent.why)
      this.#agent = true
      reject?.()
    })
    session.on('x11', (_accept, reject) => {
      if (!this.#x11) this.#road.session.refuse('X11 forwarding', 'X11 is never forwarded')
      this.#x11 = true
      reject?.()
    })
    // Accepted at once: ssh2 gives nothing to a client that has already sent its end (`ssh -n`) when it is late.
    session.once(
      'exec',
      (accept, _reject, { command }) => void this.#start(accept(), { kind: 'exec', command }),
    )
    session.once('shell', (accept) => void this.#start(accept(), { kind: 'shell' }))
    session.once(
      'subsystem',
      (accept, _reject, { name }) =>
        void this.#start(accept(), name === 'sftp' ? { kind: 'sftp' } : { kind: 'unknown', name }),
    )
  }

  #resize(info: WindowChangeInfo): void {
    if (this.#terminal !== null) this.#terminal = { ...this.#terminal, ...info }
    if (this.#live === null) return
    this.#live.lane.note({ what: 'resized', columns: info.cols, rows: info.rows })
    this.#live.upstream.setWindow(info.rows, info.cols, info.height, info.width)
  }

  async #start(channel: ServerChannel | undefined, asked: Asked): Promise<void> {
    if (channel === undefined) return
    const { session, signal, fail, idle } = this.#road
    idle.touch()
    const end = new ClientEnd(channel, this.#terminal !== null)
    this.#track(end)
    const leaving = new AbortController()
    channel.once('close', () => {
      leaving.abort(new Refused('approval_withdrawn', 'the client left', 'run the command again'))
    })
    try {
      if (this.#agent) end.say(refusalLine(noAgent))
      const meant = asked.kind === 'exec' ? await this.#understand(asked) : asked
      const tell = (message: Message): void => end.say(tellLine(message))
      const permit = await idle.whileWaiting(session.decide(this.#request(meant), leaving.signal, tell))
      await end.finish(await this.#carry(end, permit, meant))
    } catch (error) {
      // What ends the conversation is said by it.
      if (signal.aborted || end.closed) return
      if (!(error instanceof Refused)) return fail(error)
      end.say(refusalLine(error))
      await end.finish(REFUSED_EXIT)
    } finally {
      this.#live = null
    }
  }

  /** A copy by the old scp, where the host can say which paths it means; else a command like any other. */
  async #understand(asked: Extract<Asked, { kind: 'exec' }>): Promise<Asked> {
    if (this.#terminal !== null) return asked
    const rsync = readRsync(asked.command)
    if (rsync !== null) return this.#understandRsync(asked, rsync)
    const command = readScp(asked.command)
    const paths = command === null ? null : await this.#road.paths()
    if (command === null || paths === null) return asked
    const root = await paths.resolve(command.path)
    const again = root === null ? null : command.at(root)
    if (root === null || again === null) return asked
    const into = command.takes && (await paths.isFolder(root))
    return { kind: 'scp', command: again, copy: { command, paths, root, into } }
  }

  async #understandRsync(asked: Asked, rsync: RsyncCommand): Promise<Asked> {
    const host = await this.#road.paths()
    const paths = host === null ? null : await resolveRsync(rsync, host)
    const command = paths === null ? null : rsync.at(paths)
    return paths === null || command === null ? asked : { kind: 'rsync', command, rsync, paths }
  }

  #request(asked: Asked): Request {
    switch (asked.kind) {
      case 'rsync':
        return rsyncRequest(asked.rsync, asked.paths)
      case 'scp': {
        const { command, root } = asked.copy
        // Taking does nothing yet: each file is decided by itself.
        return command.takes
          ? requestOf(command.words.join(' '), [])
          : copyRequest({ command, path: root, folder: false })
      }
      case 'exec':
        // LC_ALL may decide how a command reads a number.
        return { ...execRequest(asked.command), under: JSON.stringify(this.#environment) }
      case 'shell':
        return shellRequest()
      case 'sftp':
        // Opening it does nothing yet: each file operation is decided by itself.
        return requestOf('subsystem sftp', [])
      case 'unknown': {
        const name = asked.name.slice(0, 64)
        this.#road.session.refuse(
          `subsystem ${JSON.stringify(name)}`,
          'only the subsystem sftp is understood',
        )
        throw new Refused('unsupported', 'only the subsystem sftp is understood', 'run a command instead')
      }
    }
  }

  async #carry(end: ClientEnd, permit: Permit, asked: Asked): Promise<Exit> {
    const terminal = this.#terminal
    const unseen = new Unseen()
    const files = asked.kind === 'sftp' || asked.kind === 'scp'
    const opening: { upstream: ClientChannel | null } = { upstream: null }
    const plan: LanePlan = {
      name: asked.kind,
      content:
        files || asked.kind === 'rsync' || (asked.kind === 'exec' && isTransfer(asked.command))
          ? 'opaque'
          : 'text',
      hashed: !files,
      terminal:
        terminal === null ? undefined : { type: terminal.term, columns: terminal.cols, rows: terminal.rows },
      client: end,
      open: async () => {
        opening.upstream = await this.#open(asked)
        return opening.upstream
      },
      hide: (bytes) => (terminal === null ? bytes : unseen.input(bytes)),
    }
    const lane = await this.#road.session.lane(permit, plan)
    const { upstream } = opening
    if (upstream === null) return null
    this.#live = { lane, upstream }
    const client = end.channel
    let exit: Exit = null
    try {
      const { session, idle } = this.#road
      const parts = { session, idle, lane, permit, client, end, upstream }
      if (asked.kind === 'sftp') exit = await carrySftp(parts)
      else if (asked.kind === 'scp') exit = await carryScp({ ...parts, ...asked.copy })
      else if (asked.kind === 'rsync') exit = await carryRsync(parts, asked.rsync)
      else if (asked.kind === 'exec' && isGit(asked.command)) exit = await carryGit(parts, asked.command)
      else
        exit = await carry(
          parts,
          straight(parts, terminal === null ? undefined : (chunk) => unseen.output(chunk)),
        )
    } finally {
      lane.end(exit)
    }
    return exit
  }

  #open(asked: Asked): Promise<ClientChannel> {
    const { client } = this.#road.upstream
    const env = this.#environment
    const pty = this.#terminal
    switch (asked.kind) {
      case 'exec':
      case 'scp':
      case 'rsync':
        return opened((done) => client.exec(asked.command, pty === null ? { env } : { env, pty }, done))
      case 'shell':
        return opened((done) => client.shell(pty ?? false, { env }, done))
      case 'sftp':
      case 'unknown':
        return opened((done) => client.subsys('sftp', done))
    }
  }
}

/** File transfers over a command carry lengths and checksums: they break when a byte changes. Nothing else may stand beside them. */
function isTransfer(command: string): boolean {
  return (
    /^(scp (-\w+ )*-[tf]\b|rsync --server |git-(upload-pack|receive-pack|upload-archive) )/.test(command) &&
    !/[;&|<>$`(){}\n\r]/.test(command)
  )
}

/** Git's own protocol, which says what it is about. */
function isGit(command: string): boolean {
  return isTransfer(command) && /^git-(upload|receive)-pack /.test(command)
}
