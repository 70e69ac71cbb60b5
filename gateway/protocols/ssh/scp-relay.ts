import type { ClientChannel, ServerChannel } from 'ssh2'
import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Lane, Session } from '../../core/protocol.ts'
import type { ClientEnd } from './client-end.ts'
import type { HostPaths } from './host-paths.ts'
import type { Idle } from './idle.ts'
import { type Between, type Exit, carry } from './pump.ts'
import { copyRequest } from './requests.ts'
import { Passage } from './sftp-files.ts'
import { Tape } from './tape.ts'
import type { ScpCommand } from './transfer-command.ts'
import { refusalLine, tellLine } from './words.ts'

/*
 * The protocol of rcp, as scp speaks it. Every line but a complaint is answered with one byte 0, or 1 or 2 and a line:
 *
 *   T<mtime> 0 <atime> 0\n        the times of what comes next
 *   D<mode> 0 <name>\n            what follows is in this folder, up to E\n
 *   C<mode> <size> <name>\n       a file; answered, then <size> bytes and a byte 0, which are answered again
 *   \1<text>\n  \2<text>\n        a complaint; \2 is the last word
 */
const LONGEST_LINE = 8192
const DEEPEST = 256
const entry = /^([CD])[0-7]{4} (\d{1,15}) ([^/\p{C}\p{Zl}\p{Zp}\u{fffd}]+)\n$/u
const times = /^T\d{1,19} \d{1,9} \d{1,19} \d{1,9}\n$/

export interface ScpParts {
  readonly session: Session
  readonly lane: Lane
  /** For what touches no file: the answers, and the ends of folders. */
  readonly permit: Permit
  readonly client: ServerChannel
  readonly end: ClientEnd
  readonly upstream: ClientChannel
  readonly idle: Idle
  readonly command: ScpCommand
  readonly paths: HostPaths
  /** The path of the command as the host resolved it. */
  readonly root: string
  /** True when that is a folder that the host will put things into. */
  readonly into: boolean
}

/** Carries a copy by the old scp: each file and folder that its protocol names is decided by itself before it is passed on. */
export function carryScp(parts: ScpParts): Promise<Exit> {
  const relay = new ScpRelay(parts)
  return carry(parts, relay, (fail) => relay.begin(fail))
}

/** One of the two who copy: what has come of it, and how it is told something. */
interface Side {
  readonly tape: Tape
  say(bytes: Buffer, permit?: Permit): Promise<void>
}

class ScpRelay implements Between {
  readonly #parts: ScpParts
  readonly #client: Side
  readonly #host: Side
  /** Gives the files. */
  readonly #giver: Side
  readonly #taker: Side
  readonly #leaving = new AbortController()
  /** The folders that the copy is in now. */
  readonly #folders: string[] = []

  constructor(parts: ScpParts) {
    this.#parts = parts
    const { lane, permit } = parts
    this.#client = {
      tape: new Tape(),
      say: async (bytes) => {
        if (!lane.reply(bytes)) await lane.drained('client')
      },
    }
    this.#host = {
      tape: new Tape(),
      say: async (bytes, by = permit) => {
        if (!lane.forward(by, bytes)) await lane.drained('upstream')
      },
    }
    const { takes } = parts.command
    this.#giver = takes ? this.#client : this.#host
    this.#taker = takes ? this.#host : this.#client
    parts.client.once('close', () => {
      this.#leaving.abort(new Refused('approval_withdrawn', 'the client left', 'copy again'))
      this.#client.tape.end()
      this.#host.tape.end()
    })
    parts.upstream.once('end', () => this.#host.tape.end())
  }

  begin(fail: (error: unknown) => void): void {
    this.#copy().then(
      () => void this.#parts.upstream.end(),
      (error: unknown) => {
        if (!this.#leaving.signal.aborted) fail(error)
      },
    )
  }

  forward(chunk: Buffer): boolean {
    return this.#client.tape.push(chunk)
  }

  forwardReady(): Promise<void> {
    return this.#client.tape.ready()
  }

  forwardEnded(): void {
    this.#client.tape.end()
  }

  reply(chunk: Buffer): boolean {
    return this.#host.tape.push(chunk)
  }

  replyReady(): Promise<void> {
    return this.#host.tape.ready()
  }

  async #copy(): Promise<void> {
    // Who takes says first that it is ready.
    if ((await this.#answered()) === null) return
    for (;;) {
      const line = await this.#giver.tape.line(LONGEST_LINE)
      if (line === null) return
      const goesOn = await this.#line(line)
      if (!goesOn) return
    }
  }

  /** Deals with one line of the giver's; false when it was the last. */
  async #line(line: Buffer): Promise<boolean> {
    const text = line.toString('utf8')
    if (line[0] === 1 || line[0] === 2) {
      await this.#taker.say(line)
      return line[0] === 1
    }
    if (text === 'E\n') {
      this.#folders.pop()
      await this.#taker.say(line)
      return (await this.#answered()) !== null
    }
    if (times.test(text)) {
      await this.#taker.say(line)
      return (await this.#answered()) !== null
    }
    const [, kind = '', size = '', name = ''] = entry.exec(text) ?? []
    if (kind === '') {
      // A shell of the host may complain in words of its own before scp runs.
      if (this.#giver === this.#host && !/^[A-Z]/.test(text)) {
        await this.#taker.say(Buffer.concat([Buffer.of(1), line]))
        return true
      }
      throw violation('a line that is none of its own')
    }
    const decided = await this.#decide(name, kind === 'D')
    if (decided === null) return true
    const { path, permit } = decided
    await this.#taker.say(line, permit)
    const taken = await this.#answered()
    if (taken !== true) return taken !== null
    if (kind === 'D') {
      if (this.#folders.push(path) > DEEPEST) throw violation('too many folders within one another')
      return true
    }
    return this.#file(path, Number(size), permit)
  }

  /** The bytes of a file, and what both have to say at its end; false when one of them left. */
  async #file(path: string, size: number, permit: Permit): Promise<boolean> {
    const passage = new Passage()
    const none = new Passage().total()
    try {
      for (let at = 0; at < size; ) {
        const bytes = await this.#giver.tape.some(size - at)
        if (bytes === null) return false
        passage.add(at, bytes)
        at += bytes.length
        await this.#taker.say(bytes, permit)
      }
    } finally {
      const passed = passage.total()
      const [read, written] = this.#parts.command.takes ? [none, passed] : [passed, none]
      this.#parts.lane.note({ what: 'file', path, read, written })
    }
    const last = await this.#status(this.#giver)
    if (last === null) return false
    await this.#taker.say(last)
    return (await this.#answered()) !== null
  }

  /** Passes on how the taker answers: true for yes, false for no, null when it has left. */
  async #answered(): Promise<boolean | null> {
    const answer = await this.#status(this.#taker)
    if (answer === null || answer[0] === 2) return null
    await this.#giver.say(answer)
    return answer[0] === 0
  }

  /** A byte 0, or anything else and its line. */
  async #status(side: Side): Promise<Buffer | null> {
    const first = await side.tape.some(1)
    if (first === null || first[0] === 0) return first
    const line = first[0] === 0x0a ? Buffer.alloc(0) : await side.tape.line(LONGEST_LINE)
    return line === null ? null : Buffer.concat([first, line])
  }

  /** Where on the host a name stands, and the permit for it; null when it was refused and both were told. */
  async #decide(name: string, folder: boolean): Promise<{ path: string; permit: Permit } | null> {
    const { session, command, end, paths, root, idle } = this.#parts
    try {
      const path = await paths.resolve(this.#place(name))
      if (path === null) throw new Refused('denied', 'there is no such folder on the host', 'make it first')
      // What a copy begins with was decided before it began.
      if (!command.takes && path === root) return { path, permit: this.#parts.permit }
      const request = copyRequest({ command, path, folder })
      const permit = await idle.whileWaiting(
        session.decide(request, this.#leaving.signal, (message) => end.say(tellLine(message))),
      )
      return { path, permit }
    } catch (error) {
      if (!(error instanceof Refused) || error.code === 'identity_ended' || error.code === 'upstream_failed')
        throw error
      // Who gives skips it; who takes, where it is the client, hears why, too.
      const complaint = Buffer.from(`\u0001${refusalLine(error)}\n`)
      await this.#giver.say(complaint)
      if (this.#taker === this.#client) await this.#taker.say(complaint)
      return null
    }
  }

  /** The path that a name of the protocol means, as scp puts it together. */
  #place(name: string): string {
    // A giver writes names that are no text in another way, so that they would mean another file.
    if (name === '.' || name === '..' || (this.#giver === this.#host && name.includes('\\')))
      throw new Refused('denied', 'a name that scp may not use', 'rename it, or use sftp')
    const { root, into, command } = this.#parts
    const folder = this.#folders.at(-1)
    if (folder !== undefined) return join(folder, name)
    return command.takes && into ? join(root, name) : root
  }
}

function join(folder: string, name: string): string {
  return `${folder === '/' ? '' : folder}/${name}`
}

function violation(what: string): Refused {
  return new Refused('protocol_violation', `this is not how scp speaks: ${what}`, 'use OpenSSH’s scp')
}
