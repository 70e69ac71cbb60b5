import { constants } from 'node:fs'
import { mkdir, mkdtemp, open, readFile, readdir, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import type { IdentityView } from '../gateway/core/contract.ts'
import { ClientError, systemCode } from './error.ts'
import { type Held, isIdentityView } from './exchange.ts'
import { readKey } from './key.ts'
import { makeOwnerOnly } from './owner-only.ts'
import type { Rewrites } from './scope.ts'
import { here } from './system.ts'

/** What `identity.json` holds: nothing secret. */
export interface Card {
  readonly gateway: string
  readonly token_type: 'DPoP' | 'Bearer'
  readonly identity: IdentityView
  /** Variables that lead to a connection. */
  readonly rewrites: Rewrites
  /** The folders of the identities above, nearest first, for a sandbox to hide. */
  readonly above?: readonly string[]
}

/** An identity in force, as its private folder tells it. */
export interface Home {
  readonly path: string
  readonly card: Card
  readonly held: Held
  /** The CA that the folder's client programs trust, PEM. */
  readonly ca: string
}

/** A new private folder (0700) under RUNNER_TEMP, where the runner has one, or the system's temporary folder. */
export async function makeHome(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<string> {
  const given = environment.RUNNER_TEMP
  const base = given !== undefined && given !== '' ? given : tmpdir()
  await sweep(base)
  const path = await mkdtemp(join(base, 'hoop-')).catch((cause: unknown) => {
    const why = `no private folder can be made in ${base} (${systemCode(cause) ?? 'unknown error'})`
    throw new ClientError('bad_home', why, 'set RUNNER_TEMP or TMPDIR to a folder that can be written to', {
      cause,
    })
  })
  await makeOwnerOnly(path)
  return path
}

const STALE_MS = 3_600_000

/** Removes what jobs that were killed left behind on this machine: folders of this user whose identity is long over. */
async function sweep(base: string): Promise<void> {
  const names = await readdir(base).catch(() => []) // making a folder there says what is wrong
  for (const name of names.filter((one) => /^hoop-[A-Za-z0-9]{6}$/.test(one)).slice(0, 100)) {
    const path = join(base, name)
    const home = await readHome(path).catch(() => null) // another's, or none of ours
    if (home !== null && home.held.expiresAt < Date.now() - STALE_MS) await removeHome(path)
  }
}

/**
 * The folder for an identity that outlives this command: where HOOP_HOME names one that is not there yet, empty, or
 * left by an identity that is over, that one; else a new one. Throws where it names anything else.
 */
export async function claimHome(environment: Readonly<Record<string, string | undefined>>): Promise<string> {
  const path = environment.HOOP_HOME
  if (path === undefined || path === '') return makeHome(environment)
  const elsewhere = 'unset HOOP_HOME, or name an absolute path at which nothing is yet'
  if (!isAbsolute(path)) throw new ClientError('bad_home', 'HOOP_HOME is not an absolute path', elsewhere)
  try {
    // Not its parents: what is missing there is more likely a slip than a wish.
    await mkdir(path, { mode: 0o700 })
    await makeOwnerOnly(path)
    await claim(path)
    return path
  } catch (cause) {
    if (cause instanceof ClientError) throw cause
    const code = systemCode(cause) ?? 'unknown error'
    if (code !== 'EEXIST')
      throw new ClientError('bad_home', `HOOP_HOME cannot be made (${code}): ${path}`, elsewhere, { cause })
  }
  await checkFolder(path, `chmod 700 it, ${elsewhere}`)
  const found = await readdir(path).catch((cause: unknown) => {
    throw new ClientError('bad_home', `HOOP_HOME is not a folder: ${path}`, elsewhere, { cause })
  })
  if (!found.includes(claimed) && found.length > 0 && !found.includes('identity.json')) {
    throw new ClientError('bad_home', `HOOP_HOME holds other things than an identity: ${path}`, elsewhere)
  }
  await claim(path)
  try {
    await refuseInForce(path)
    return path
  } catch (error) {
    await releaseHome(path)
    throw error
  }
}

/** The mark of an `open` that is under way. */
const claimed = '.open'

/** Of two that come at once, one gets the folder: the other would write over it, and remove it where it fails. */
async function claim(path: string): Promise<void> {
  try {
    await (await open(join(path, claimed), 'wx', 0o600)).close()
  } catch (cause) {
    if (systemCode(cause) !== 'EEXIST') throw cause
    const why = `another \`hoop-access open\` writes into HOOP_HOME, or was killed there: ${path}`
    const next = 'give each its own HOOP_HOME, or remove the folder if none runs any more'
    throw new ClientError('home_in_use', why, next, { cause })
  }
}

/** Takes the mark away that `claimHome` has left, once all is written. */
export async function releaseHome(path: string): Promise<void> {
  await rm(join(path, claimed), { force: true })
}

/** Whoever had the mark before may have written since it was looked whether there is an identity. */
async function refuseInForce(path: string): Promise<void> {
  if (!(await readdir(path)).includes('identity.json')) return
  const { card, held } = await readHome(path)
  if (held.expiresAt <= Date.now()) return
  const why = `HOOP_HOME holds ${card.identity.id}, which is in force: ${path}`
  throw new ClientError('home_in_use', why, 'close it first (`hoop-access close`), or unset HOOP_HOME')
}

/**
 * Writes a file (0600) so that a reader sees the old or the new one whole, and follows no link: the draft is made anew
 * (`O_EXCL`), and a rename replaces a link instead of writing through it.
 */
export async function writePrivate(home: string, name: string, content: string | Uint8Array): Promise<void> {
  const draft = join(home, `.${name}.${process.pid}.new`)
  await rm(draft, { force: true })
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0)
  const file = await open(draft, flags, 0o600)
  try {
    await file.writeFile(content)
  } finally {
    await file.close()
  }
  await replace(draft, join(home, name))
}

/** Renames a draft. Windows keeps a file from being replaced while a program reads it, which takes a moment. */
export async function replace(draft: string, path: string, tries = 20): Promise<void> {
  try {
    await rename(draft, path)
  } catch (error) {
    if (here.platform !== 'win32' || tries === 0) throw error
    await new Promise((resolve) => setTimeout(resolve, 50))
    await replace(draft, path, tries - 1)
  }
}

/** Removes the folder and all in it; nothing when it is gone. Links in it are removed, never followed. */
export async function removeHome(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 3 })
}

const gone = 'open an identity first (`hoop-access open`), and check HOOP_HOME'

/** Reads the identity in force; refuses a folder that others can read or that belongs to another user. */
export async function readHome(path: string | undefined): Promise<Home> {
  if (path === undefined || path === '')
    throw new ClientError('no_identity', 'no identity is in force (HOOP_HOME is not set)', gone)
  if (!isAbsolute(path)) throw new ClientError('bad_home', 'HOOP_HOME is not an absolute path', gone)
  await checkFolder(path)
  const [json, token, pem, certificate, ca] = await Promise.all(
    ['identity.json', 'token', 'client.key', 'client.crt', 'ca.pem'].map((name) =>
      readText(join(path, name)),
    ),
  )
  const card = readCard(json ?? '')
  const expiresAt = Date.parse(card.identity.expires_at)
  const held: Held = {
    key: readKey(pem ?? ''),
    token: (token ?? '').trim(),
    tokenType: card.token_type,
    certificate: certificate ?? '',
    expiresAt,
  }
  return { path, card, held, ca: ca ?? '' }
}

const exposed = 'close it and open a new identity: its key may have been read'

async function checkFolder(path: string, next = exposed): Promise<void> {
  const status = await stat(path).catch((cause: unknown) => {
    const why = `HOOP_HOME cannot be read (${systemCode(cause) ?? 'unknown error'}): ${path}`
    throw new ClientError('no_identity', why, gone, { cause })
  })
  if (here.platform === 'win32') return // modes say nothing about who may read
  const user = process.getuid?.()
  if ((status.mode & 0o077) !== 0 || (user !== undefined && status.uid !== user)) {
    throw new ClientError('bad_home', `others can read HOOP_HOME: ${path}`, next)
  }
}

// Neither a link nor, for good, a pipe that nobody writes to: other steps of the job may put either there.
const plainFile = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, { encoding: 'utf8', flag: plainFile })
  } catch (cause) {
    throw new ClientError(
      'bad_home',
      `${path} cannot be read (${systemCode(cause) ?? 'unknown error'})`,
      gone,
      { cause },
    )
  }
}

/** Reads what `identity.json` holds; throws `ClientError` where that is anything else. */
export function readCard(json: string): Card {
  const value = parse(json)
  if (isCard(value)) return value
  throw new ClientError(
    'bad_home',
    'identity.json in HOOP_HOME is damaged',
    'close it and open a new identity',
  )
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined // said by the caller
  }
}

function isCard(value: unknown): value is Card {
  if (typeof value !== 'object' || value === null) return false
  const { gateway, token_type, identity, rewrites, above } = {
    gateway: null,
    token_type: null,
    identity: null,
    rewrites: null,
    above: [],
    ...value,
  }
  return (
    typeof gateway === 'string' &&
    (token_type === 'DPoP' || token_type === 'Bearer') &&
    isIdentityView(identity) &&
    typeof rewrites === 'object' &&
    rewrites !== null &&
    Array.isArray(above) &&
    above.every((one) => typeof one === 'string') &&
    Object.values(rewrites).every((one) => typeof one === 'string')
  )
}
