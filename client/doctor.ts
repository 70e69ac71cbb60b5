import { execFile } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ClientError } from './error.ts'
import { connectGateway, type Connected } from './connect.ts'
import { viewIdentity } from './exchange.ts'
import { type Home, readHome } from './home.ts'
import { choosePlatform } from './platform.ts'
import { type Patience } from './retry.ts'
import { leadingAround, misled } from './around.ts'
import { filesOf } from './settings.ts'
import { here } from './system.ts'
import { configPath, findUserHome, includeLine } from './ssh-settings.ts'

/** One thing looked at. */
export interface Finding {
  readonly check: string
  /** `skipped`: there was nothing to look at, or an earlier fault is in the way. */
  readonly state: 'good' | 'bad' | 'skipped'
  readonly found: string
  /** What to do, where something is bad. */
  readonly fix: string
}

type Environment = Readonly<Record<string, string | undefined>>

/** What to look at. */
export interface DoctorOptions {
  readonly gateway: string | undefined
  readonly ca: string | undefined
  readonly platform: string | undefined
  readonly stage: string | undefined
  readonly environment: Environment
}

const once: Patience = { attempts: 1, first: 0, within: 15_000 }

/** Looks at a set-up from the ground up, and says of each thing whether it is good; changes nothing. */
export async function* diagnose(options: DoctorOptions): AsyncGenerator<Finding> {
  const { environment } = options
  yield checkNode()
  const { finding, home } = await checkHome(environment.HOOP_HOME)
  yield finding
  const connected = yield* checkGateway(options, home)
  if (connected !== null) {
    yield await checkClock(connected)
    yield await checkIdToken(connected, options)
    if (home !== null) yield await checkIdentity(connected, home)
    connected.transport.close()
  }
  yield await checkPsql()
  yield await checkSsh(home)
  yield* checkVariables(environment, home)
}

function good(check: string, found: string): Finding {
  return { check, state: 'good', found, fix: '' }
}

function bad(check: string, error: unknown): Finding {
  if (error instanceof ClientError) return { check, state: 'bad', found: error.why, fix: error.next }
  return {
    check,
    state: 'bad',
    found: error instanceof Error ? error.message : 'unknown error',
    fix: 'report this',
  }
}

function skipped(check: string, found: string): Finding {
  return { check, state: 'skipped', found, fix: '' }
}

function checkNode(): Finding {
  const { node } = process.versions
  const [major = 0, minor = 0] = node.split('.').map(Number)
  if (major > 22 || (major === 22 && minor >= 15)) return good('Node', node)
  return { check: 'Node', state: 'bad', found: `${node} is too old`, fix: 'install Node 22.15 or newer' }
}

async function checkHome(path: string | undefined): Promise<{ finding: Finding; home: Home | null }> {
  const check = 'Private folder'
  if (path === undefined || path === '') {
    return { finding: skipped(check, 'HOOP_HOME is not set: no identity is in force'), home: null }
  }
  try {
    const home = await readHome(path)
    const key = filesOf(path).key
    if (here.platform === 'win32' || ((await stat(key)).mode & 0o077) === 0)
      return { finding: good(check, `${path}, for its owner only`), home }
    const found = `${key} can be read by others: psql and ssh refuse such a key`
    return { finding: { check, state: 'bad', found, fix: `run chmod 600 ${key}` }, home }
  } catch (error) {
    return { finding: bad(check, error), home: null }
  }
}

async function* checkGateway(
  options: DoctorOptions,
  home: Home | null,
): AsyncGenerator<Finding, Connected | null> {
  const check = 'Gateway'
  try {
    const connected = await connectGateway(
      options.gateway ?? home?.card.gateway,
      options.ca ?? home?.ca,
      once,
    )
    const { transport } = connected
    await transport.send({ method: 'GET', path: '/healthz' })
    const how = transport.gateway.protocol === 'http:' ? 'plain HTTP on loopback' : 'its certificate verifies'
    yield good(check, `${transport.gateway.origin} answers, and ${how}`)
    return connected
  } catch (error) {
    yield bad(check, error)
    return null
  }
}

/** Tokens and proofs carry times: a minute of difference is what the gateway bears. */
async function checkClock({ transport }: Connected): Promise<Finding> {
  const check = 'Clock'
  try {
    const { headers } = await transport.send({ method: 'GET', path: '/healthz' })
    const theirs = Date.parse(headers.date ?? '')
    if (Number.isNaN(theirs)) return skipped(check, 'the gateway does not say what time it is')
    const seconds = Math.round(Math.abs(Date.now() - theirs) / 1000)
    if (seconds <= 30) return good(check, `within ${seconds} s of the gateway's`)
    return {
      check,
      state: 'bad',
      found: `${seconds} s away from the gateway's`,
      fix: 'set both clocks by NTP',
    }
  } catch (error) {
    return bad(check, error)
  }
}

/**
 * Asks the platform for a token, and compares what it says with the gateway's address. The token is not sent: it would
 * be used up, and a job has one identity.
 */
async function checkIdToken(
  { transport }: Connected,
  { platform, stage, environment }: DoctorOptions,
): Promise<Finding> {
  const check = 'ID token'
  if (platform === undefined || platform === '') return skipped(check, 'no --platform was named')
  try {
    const token = await choosePlatform(platform, environment).getIdToken(transport.gateway.origin)
    const claims = readClaims(token)
    const audience = [claims.aud].flat()
    if (!audience.includes(transport.gateway.origin)) {
      const found = `its audience is ${audience.join(', ')}, and the gateway is ${transport.gateway.origin}`
      return { check, state: 'bad', found, fix: 'ask for the token with the gateway’s URL as audience' }
    }
    const shown = [
      'iss',
      'sub',
      'repository_id',
      'project_id',
      'ref',
      'environment',
      'job_workflow_ref',
      'ci_config_ref_uri',
    ]
    const said = shown
      .filter((name) => claims[name] !== undefined)
      .map((name) => `${name}=${String(claims[name])}`)
    const subject = stage === undefined ? 'stages.NAME.subjects' : `stages.${stage}.subjects`
    return good(check, `${said.join(' ')} (these are what ${subject} must match)`)
  } catch (error) {
    return bad(check, error)
  }
}

function readClaims(token: string): Record<string, unknown> {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'))
    if (typeof claims === 'object' && claims !== null) return { ...claims }
  } catch {
    // Said below, for both ways in which it is not one.
  }
  throw new ClientError('no_id_token', 'the ID token is not a JWT', 'check where HOOP_ID_TOKEN comes from')
}

async function checkIdentity({ transport }: Connected, { held }: Home): Promise<Finding> {
  const check = 'Identity'
  try {
    const view = await viewIdentity(transport, held)
    const minutes = (Date.parse(view.expires_at) - Date.now()) / 60_000
    const connections = view.connections.map(({ name }) => name).join(', ')
    return good(
      check,
      `${view.id} of stage ${view.stage}, ${minutes.toFixed(1)} minutes left, for ${connections}`,
    )
  } catch (error) {
    return bad(check, error)
  }
}

async function checkPsql(): Promise<Finding> {
  try {
    const { stdout } = await promisify(execFile)('psql', ['--version'], { timeout: 5000 })
    const version = /(\d+)(\.\d+)?/.exec(stdout)?.[0] ?? '0'
    if (Number.parseInt(version, 10) >= 13) return good('psql', version)
    return { check: 'psql', state: 'bad', found: `${version} is too old`, fix: 'install psql 13 or newer' }
  } catch {
    return skipped('psql', 'it is not here; other PostgreSQL clients may be')
  }
}

/** OpenSSH takes the home of the password file, so a config under another HOME (GitHub's containers) is one that it never reads. */
async function checkSsh(home: Home | null): Promise<Finding> {
  const check = 'ssh'
  const name = home?.card.identity.connections.find(({ type }) => type === 'ssh')?.name
  if (home === null || name === undefined) return skipped(check, 'no host is among the connections')
  try {
    const { stdout } = await promisify(execFile)('ssh', ['-G', name], { timeout: 5000 })
    if (stdout.includes(`identityfile ${configPath(join(home.path, 'id_ecdsa'))}`))
      return good(check, `\`ssh ${name}\` leads to the gateway`)
    return {
      check,
      state: 'bad',
      found: `\`ssh ${name}\` does not lead to the gateway: ${findUserHome() ?? '~'}/.ssh/config does not include its settings`,
      fix: `use \`ssh -F "$HOOP_HOME/ssh_config" ${name}\`, or put \`${includeLine(home.path)}\` on that file's first line`,
    }
  } catch {
    return skipped(check, 'OpenSSH is not here')
  }
}

/** Variables that lead a program somewhere else than through the gateway. */
function* checkVariables(environment: Environment, home: Home | null): Generator<Finding> {
  const check = 'Variables'
  if (home === null) return yield skipped(check, 'no identity is in force')
  const names = leadingAround(environment, home.card, home.path)
  const wrong = misled(environment, home.card, home.path)
  if (names.length + wrong.length === 0) return yield good(check, 'all lead through the gateway')
  for (const name of names) {
    const fix = `run eval "$(hoop-access env)", or name it when opening: --env ${name}=CONNECTION`
    yield { check, state: 'bad', found: `${name} leads around the gateway`, fix }
  }
  for (const name of wrong) {
    const fix = 'run eval "$(hoop-access env)"'
    yield { check, state: 'bad', found: `${name} is not what the gateway is reached by`, fix }
  }
}
