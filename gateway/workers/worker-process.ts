import { type ChildProcess, fork } from 'node:child_process'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Place } from '../listener/admission.ts'
import type { Spread } from '../protocols/postgres/news.ts'
import type { WorkerCalls } from './calls.ts'
import { Desk, type DeskParts } from './desk.ts'
import { Line } from './line.ts'

// In a checkout it is TypeScript beside this file; bundled, it is JavaScript beside the bundle.
const workerFile = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './relay-worker.js', import.meta.url),
)

/** Of the gateway's environment a worker gets nothing that may be a secret. */
const passedOn = ['NODE_OPTIONS', 'NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'TZ', 'SYSTEMROOT']

/** One worker process, as the gateway holds it: the line to it, and the desk that answers it. */
export class WorkerProcess {
  readonly line: Line<WorkerCalls>
  readonly desk: Desk
  /** Resolves when it is gone, and what it left is cleared up. */
  readonly gone: Promise<{ readonly code: number | null; readonly signal: string | null }>
  /** True once it takes clients. */
  ready = false
  /** True while it is asked what it did. */
  ticking = false
  readonly #child: ChildProcess
  #over = false

  constructor(options: {
    readonly parts: DeskParts & { readonly spread: Spread }
    readonly confirm: (cut: Promise<void>) => void
    /** It takes no messages any more. */
    readonly hung: () => void
  }) {
    const environment = passedOn
      .map((name) => [name, process.env[name]])
      .filter(([, value]) => value !== undefined)
    const child = fork(workerFile, [], {
      serialization: 'advanced',
      // Nothing of a debugger's or a profiler's: bin/hoop-access.js says why this one.
      execArgv: process.execArgv.filter((flag) => flag === '--no-async-context-frame'),
      env: Object.fromEntries(environment),
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.#child = child
    // It ends with the gateway, and must not keep one alive that could not start.
    child.unref()
    child.channel?.unref()
    this.desk = new Desk(options.parts, () => this.line, options.confirm)
    this.line = new Line<WorkerCalls>(child, this.desk, options.hung)
    // Killing one that is gone already fails, and so does sending to it: both show as its end.
    child.on('error', () => this.kill())
    this.gone = this.#end()
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** True once it has been ended, or has ended. */
  get over(): boolean {
    return this.#over
  }

  /** How many clients it has. */
  get size(): number {
    return this.desk.size
  }

  /**
   * Hands a client over. Node closes its own end of the socket, which still reads, only when the worker has confirmed
   * that it has it, and sends nothing that comes after before that: so `go` says that nobody else reads any more. A
   * client that waits for an answer has said nothing meanwhile; what another says is lost to it, and does no harm.
   */
  take(guest: number, socket: Socket, place: Place): void {
    const bytes: unknown = socket.read()
    this.desk.receive(guest, {
      settle: () => place.settle(),
      leave: () => {
        // One that never got to the worker is still here.
        socket.destroy()
        place.leave()
      },
    })
    const told = { guest, bytes: Buffer.isBuffer(bytes) ? bytes : Buffer.alloc(0) }
    this.#child.send({ ask: 0, name: 'take', value: told }, socket, {}, () => undefined)
    this.line.tell('go', { guest })
  }

  /** Ends it at once; its connections and its sessions end with it. */
  kill(): void {
    this.#over = true
    this.#child.kill('SIGKILL')
  }

  /** Gives connections that are left a moment, then ends it. */
  async close(withinMs: number): Promise<void> {
    const late = setTimeout(() => this.kill(), withinMs + GOING_MS)
    try {
      await this.line.ask('close', { withinMs }, withinMs + GOING_MS)
      this.#over = true
      if (this.#child.connected) this.#child.disconnect()
    } catch {
      // It will not say so, but it is over all the same.
      this.kill()
    }
    await this.gone
    clearTimeout(late)
  }

  async #end(): Promise<{ code: number | null; signal: string | null }> {
    const child = this.#child
    const exit = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }))
      // It never was.
      child.once('error', () => {
        if (child.pid === undefined) resolve({ code: null, signal: null })
      })
    })
    const silence = new Promise<void>((resolve) => {
      if (!child.connected) return resolve()
      child.once('disconnect', resolve)
    })
    // One that closed the channel is of no use; one that is gone may have left messages in it.
    void silence.then(() => this.kill())
    const how = await exit
    await silence
    this.#over = true
    this.ready = false
    this.line.break()
    await this.desk.close()
    return how
  }
}

const GOING_MS = 3000
