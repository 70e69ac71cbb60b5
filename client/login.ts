import { mkdir, readFile, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { ClientError, systemCode } from './error.ts'
import { writePrivate } from './home.ts'
import { type Key, makeKey, readKey } from './key.ts'
import { makeOwnerOnly } from './owner-only.ts'
import { findUserHome } from './ssh-settings.ts'
import { badAnswer, type Transport } from './transport.ts'

const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'

/** A person's login at one gateway: a token that is good with its key only. */
export interface Login {
  readonly gateway: string
  /** PEM of what the gateway's certificate leads to; null for the CAs of the system. */
  readonly ca: string | null
  readonly person: string
  readonly token: string
  readonly key: Key
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** What a person is shown, so that they let the terminal in. */
export interface Prompt {
  readonly url: string
  readonly code: string
  /** Seconds for which the code is good. */
  readonly seconds: number
}

/** Logs the person in (RFC 8628): shows a code, and waits until they have typed it where they are logged in. */
export async function logIn(transport: Transport, show: (prompt: Prompt) => void): Promise<Login> {
  const key = makeKey()
  const post = (path: string, form: Record<string, string>): Promise<unknown> =>
    transport.json({
      method: 'POST',
      path,
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        dpop: key.prove('POST', new URL(path, transport.gateway)),
      },
      body: new URLSearchParams({ client_id: 'hoop-access', ...form }).toString(),
    })
  const asked = await post('/oauth/device_authorization', {})
  const { device_code: deviceCode, user_code: code, verification_uri: url } = texts(asked)
  const { expires_in: seconds = 600, interval: first = 5 } = numbers(asked)
  if (deviceCode === undefined || code === undefined || url === undefined)
    throw badAnswer(transport.gateway, 'it gives no code to log in with')
  show({ url, code, seconds })
  let wait = first
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    await new Promise((resolve) => setTimeout(resolve, wait * 1000))
    try {
      const answer = await post('/oauth/token', { grant_type: deviceGrant, device_code: deviceCode })
      const { access_token: token, person = '' } = texts(answer)
      const { expires_in: life = 0 } = numbers(answer)
      if (token === undefined) throw badAnswer(transport.gateway, 'it gives no token')
      const { trust, gateway } = transport
      const ca = trust.system ? null : trust.pem
      return { gateway: gateway.origin, ca, person, token, key, expiresAt: Date.now() + life * 1000 }
    } catch (error) {
      if (!(error instanceof ClientError)) throw error
      if (error.code === 'slow_down') wait += 5
      else if (error.code !== 'authorization_pending' && !error.temporary) throw error
    }
  }
  throw new ClientError('expired_token', 'nobody let this terminal in', 'run hoop-access login again')
}

/** Where the login is kept: a private folder of the user, or under XDG_CONFIG_HOME. */
function folderOf(environment: Readonly<Record<string, string | undefined>>): string {
  const base = environment.XDG_CONFIG_HOME
  return join(base !== undefined && isAbsolute(base) ? base : join(homedir(), '.config'), 'hoop-access')
}

/** Every folder in which this user's login may be kept, so that it can be kept from others. */
export function loginFolders(environment: Readonly<Record<string, string | undefined>>): string[] {
  const homes = [homedir(), findUserHome()].filter((home) => home !== null)
  return [folderOf(environment), ...homes.map((home) => join(home, '.config', 'hoop-access'))]
}

/** Keeps the login (0600, in a folder 0700), in place of one before. */
export async function keepLogin(login: Login, environment = process.env): Promise<void> {
  const folder = folderOf(environment)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await makeOwnerOnly(folder)
  const { key, expiresAt, ...kept } = login
  await writePrivate(folder, 'login.json', JSON.stringify({ ...kept, key: key.pem, expires_at: expiresAt }))
}

/** The login that is kept and in force, or null; refuses a file that others can read. */
export async function readLogin(environment = process.env): Promise<Login | null> {
  const path = join(folderOf(environment), 'login.json')
  try {
    const { mode, uid } = await stat(path)
    const user = process.getuid?.()
    if (user !== undefined && ((mode & 0o077) !== 0 || uid !== user)) {
      throw new ClientError(
        'bad_login',
        `others can read ${path}`,
        'run hoop-access logout, then hoop-access login',
      )
    }
    const text = await readFile(path, 'utf8')
    const kept: unknown = JSON.parse(text)
    const { gateway, ca = null, person = '', token, key } = texts(kept)
    const { expires_at: expiresAt = 0 } = numbers(kept)
    if (gateway === undefined || token === undefined || key === undefined || expiresAt <= Date.now())
      return null
    return { gateway, ca, person, token, key: readKey(key), expiresAt }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null
    if (error instanceof ClientError) throw error
    throw new ClientError('bad_login', `${path} cannot be read`, 'run hoop-access login again', {
      cause: error,
    })
  }
}

/** Ends the login at the gateway (RFC 7009). */
export async function endLogin(transport: Transport, { token }: Login): Promise<void> {
  await transport.send({
    method: 'POST',
    path: '/oauth/revoke',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ token }).toString(),
  })
}

/** Removes what is kept. */
export async function forgetLogin(environment = process.env): Promise<void> {
  await rm(join(folderOf(environment), 'login.json'), { force: true })
}

/** The members of an object that are text. */
function texts(value: unknown): Readonly<Record<string, string | undefined>> {
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : []
  return Object.fromEntries(entries.filter(([, one]) => typeof one === 'string'))
}

/** The members of an object that are numbers. */
function numbers(value: unknown): Readonly<Record<string, number | undefined>> {
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : []
  return Object.fromEntries(entries.filter(([, one]) => typeof one === 'number'))
}
