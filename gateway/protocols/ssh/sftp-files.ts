import { type Hash, createHash } from 'node:crypto'
import type { Permit } from '../../core/gate.ts'
import type { Lane } from '../../core/protocol.ts'

/** What passed of a file in one direction. */
export class Passage {
  #bytes = 0
  #ordered = true
  readonly #hash: Hash = createHash('sha256')

  add(offset: number, data: Buffer): void {
    if (offset !== this.#bytes) this.#ordered = false
    this.#hash.update(data)
    this.#bytes += data.length
  }

  total(): { bytes: number; sha256: string | null; passed?: string } {
    const hash = this.#hash.copy().digest('hex')
    return { bytes: this.#bytes, ...(this.#ordered ? { sha256: hash } : { sha256: null, passed: hash }) }
  }
}

/** A file or folder that is open on the host. */
export class OpenFile {
  readonly path: string
  readonly permit: Permit
  /** Opened for writing: what changes it was decided then. */
  readonly writable: boolean
  readonly #folder: boolean
  readonly #read = new Passage()
  readonly #written = new Passage()

  constructor(options: { path: string; permit: Permit; writable: boolean; folder: boolean }) {
    this.path = options.path
    this.permit = options.permit
    this.writable = options.writable
    this.#folder = options.folder
  }

  read(offset: number, data: Buffer): void {
    this.#read.add(offset, data)
  }

  written(offset: number, data: Buffer): void {
    this.#written.add(offset, data)
  }

  closed(lane: Lane): void {
    if (this.#folder) return
    lane.note({ what: 'file', path: this.path, read: this.#read.total(), written: this.#written.total() })
  }
}
