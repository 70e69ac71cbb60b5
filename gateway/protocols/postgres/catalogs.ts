import pg from 'pg'
import { Refused } from '../../core/errors.ts'
import type { Catalog } from '../../sql/analyzer.ts'
import { readCatalog } from '../../sql/catalog.ts'
import { splitIdentifiers } from '../../sql/identifiers.ts'
import { Back, int32, message } from './codec.ts'
import { type Target, dialUpstream } from './dial.ts'
import { Tap } from './tap.ts'

/** What is known of one database as one account sees it. */
export interface Known {
  readonly catalog: Catalog
  /** The account's search_path, `$user` as it stands. */
  readonly searchPath: readonly string[]
  readonly readAt: number
}

type Database = Pick<Target, 'host' | 'port' | 'database'>

const TTL_MS = 60_000
const KEPT = 100
/** A reading that takes longer, or more bytes, is given up: a database could otherwise fill the gateway's memory. */
const READ_MS = 60_000
const READ_BYTES = 512 * 1024 * 1024

/** One cached catalog for each connection, database and account, read over the gateway's own connection and shared by sessions. */
export class Catalogs {
  readonly #entries = new Map<string, DatabaseCatalog>()
  /** Counts over all databases. */
  #version = 0

  of(target: Target): DatabaseCatalog {
    // All of it: a password or an authority that was changed must read, and be trusted, anew.
    const key = JSON.stringify(target)
    const found = this.#entries.get(key)
    if (found !== undefined) return found
    const made = new DatabaseCatalog(target, () => ++this.#version)
    this.#entries.set(key, made)
    const oldest = this.#entries.keys().next().value
    if (this.#entries.size > KEPT && oldest !== undefined) this.#entries.delete(oldest)
    return made
  }

  /** A session has changed the database: what any account knows of it is read again before it is used. */
  outdate(database: Database): void {
    for (const known of this.#entries.values()) if (known.isOf(database)) known.outdate()
  }
}

/** The catalog of one database as one account sees it. */
export class DatabaseCatalog {
  readonly #target: Target
  readonly #nextVersion: () => number
  #known: Known | null = null
  #outdated = false
  /** The reading under way, and the one that follows it. */
  #reading: Promise<Known> | null = null
  #next: Promise<Known> | null = null

  constructor(target: Target, nextVersion: () => number) {
    this.#target = target
    this.#nextVersion = nextVersion
  }

  /** Whether it is of the same database, whatever the account. */
  isOf({ host, port, database }: Database): boolean {
    return this.#target.host === host && this.#target.port === port && this.#target.database === database
  }

  /** What is known is known to be of before a change: nothing is read with it any more. */
  get outdated(): boolean {
    return this.#outdated
  }

  outdate(): void {
    this.#outdated = true
  }

  /** The catalog, at most a minute old. Rejects with `Refused` when the database cannot be reached. */
  async fresh(): Promise<Known> {
    const known = this.#known
    return known !== null && this.#isFresh(known) ? known : await this.refresh()
  }

  /** What is known now, however old; when it is older than a minute it is read again meanwhile. */
  latest(): Known | null {
    const known = this.#known
    if (known !== null && this.#reading === null && this.#next === null && !this.#isFresh(known)) {
      // A failure shows when the next session asks for a fresh one.
      this.refresh().catch(() => known)
    }
    return known
  }

  #isFresh(known: Known): boolean {
    return !this.#outdated && Date.now() - known.readAt < TTL_MS
  }

  /** Reads it again. A reading under way may have begun before the change that matters: one more follows it, for all who ask meanwhile. */
  refresh(): Promise<Known> {
    this.#next ??= this.#follow()
    return this.#next
  }

  async #follow(): Promise<Known> {
    await this.#reading?.catch(() => null) // told to those who asked for it; this one reads anew
    const outdated = this.#outdated
    const reading = load(this.#target, this.#nextVersion())
    this.#reading = reading
    this.#next = null
    this.#outdated = false
    try {
      this.#known = await reading
      return this.#known
    } catch (error) {
      this.#outdated ||= outdated
      throw error
    } finally {
      if (this.#reading === reading) this.#reading = null
    }
  }
}

async function load(target: Target, version: number): Promise<Known> {
  const settings = new Map([
    ['application_name', 'hoop-access catalog'],
    ['client_encoding', 'UTF8'],
    ['statement_timeout', '10s'],
    // Compiling these queries takes ten times as long as running them.
    ['jit', 'off'],
  ])
  const { socket } = await dialUpstream(target, settings, AbortSignal.timeout(10_000))
  const client = clientOver(socket)
  const late = setTimeout(() => socket.destroy(), READ_MS)
  try {
    await client.connect()
    const query = async (text: string): Promise<(string | null)[][][]> => {
      const results: Results = await client.query<(string | null)[]>({
        text,
        rowMode: 'array',
        types: asText,
      })
      return (Array.isArray(results) ? results : [results]).map(({ rows }) => rows)
    }
    const readAt = Date.now()
    // Read first: reading the catalog empties it.
    const path = (await query("SELECT pg_catalog.current_setting('search_path')"))[0]?.[0]?.[0] ?? ''
    const catalog = await readCatalog(query, version)
    return { catalog, searchPath: splitIdentifiers(path, ',') ?? ['*'], readAt }
  } catch (error) {
    throw new Refused(
      'upstream_failed',
      'what the database holds could not be read',
      'try again in a moment; if it comes again, ask the people who run the gateway to look at this connection',
      { cause: error },
    )
  } finally {
    clearTimeout(late)
    socket.destroy()
  }
}

/** What pg gives for a text of one statement, and for one of several. */
type Results = pg.QueryArrayResult<(string | null)[]> | pg.QueryArrayResult<(string | null)[]>[]

/** Values as PostgreSQL writes them. */
const asText: pg.CustomTypesConfig = { getTypeParser: () => (value: unknown) => value }

/** pg's client over a connection that is authenticated already: its start-up message is answered here. */
function clientOver(socket: Awaited<ReturnType<typeof dialUpstream>>['socket']): pg.Client {
  let started = false
  const tap = new Tap(socket, (bytes) => {
    if (started) return void socket.write(bytes)
    started = true
    // AuthenticationOk, ReadyForQuery (idle).
    tap.show(
      Buffer.concat([message(Back.authentication, int32(0)), message(Back.readyForQuery, Buffer.of(0x49))]),
    )
  })
  let read = 0
  socket.on('data', (chunk: Buffer) => {
    read += chunk.length
    if (read > READ_BYTES) socket.destroy()
    else tap.show(chunk)
  })
  socket.on('error', (error) => tap.destroy(error))
  socket.on('close', () => tap.destroy())
  socket.resume()
  const client = new pg.Client({ user: 'hoop', password: '', ssl: false, stream: () => tap })
  // What fails while a query runs rejects that query.
  client.on('error', () => tap.destroy())
  return client
}
