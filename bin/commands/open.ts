import type { Command } from 'commander'
import { startRenewal } from '../../client/background.ts'
import { connectGateway } from '../../client/connect.ts'
import { wrongUsage } from '../../client/error.ts'
import { claimHome, makeHome, readHome, releaseHome, removeHome } from '../../client/home.ts'
import { inherited, openIdentity, type Source } from '../../client/open.ts'
import { choosePlatform } from '../../client/platform.ts'
import { excludeSshConfig, includeSshConfig } from '../../client/ssh-settings.ts'
import { readConnections, readDuration, readRewrites, scopeOf } from '../../client/scope.ts'
import { selfCommand } from '../../client/self.ts'
import { type ClientOptions, collect, orVariable, withClientOptions } from './options.ts'
import { complain, print, printJson, tell } from './terminal.ts'

interface Options extends ClientOptions {
  readonly stage?: string
  readonly connections?: string
  readonly ttl?: string
  readonly env?: readonly string[]
  readonly child?: boolean
  readonly job?: string
  readonly renew: boolean
}

/** `hoop-access open`: an identity for this job, and its settings in a private folder; prints no secret. */
export function addOpen(program: Command): void {
  withClientOptions(program.command('open'))
    .description(
      'exchange the platform’s ID token for an identity, and write client settings to a private folder',
    )
    .option('--stage <name>', 'the stage to become (HOOP_STAGE)')
    .option(
      '--connections <list>',
      'only these, each narrowed as NAME:OPERATION: a,b:read (HOOP_CONNECTIONS)',
    )
    .option('--ttl <duration>', 'a shorter life than the stage’s: 10m (HOOP_TTL)')
    .option(
      '--env <NAME=connection>',
      'a variable with a connection string that is to lead to a connection',
      collect,
    )
    .option(
      '--child',
      'a narrower child of the identity in force (HOOP_HOME), in a new folder; the parent stays as it is',
    )
    .option(
      '--job <pid>',
      'the process with which the job ends: the identity ends then, too, if nobody closed it',
    )
    .option('--no-renew', 'do not renew in the background, where the stage has a max_ttl')
    .addHelpText(
      'after',
      '\nThe folder is the one that HOOP_HOME names, if it is not there yet or empty, and else a new one in RUNNER_TEMP or the' +
        '\nsystem’s temporary folder. Where HOOP_HOME holds an identity in force, close that first.' +
        '\n\nPrints the folder:  export HOOP_HOME="$(hoop-access open --stage test)" && eval "$(hoop-access env)"',
    )
    .action(open)
}

async function open(options: Options): Promise<void> {
  const parent = options.child === true ? await readHome(process.env.HOOP_HOME) : undefined
  // The stage in HOOP_STAGE is the one in force; a child becomes another only when the call says so.
  const stage = parent === undefined ? orVariable(options.stage, 'HOOP_STAGE') : options.stage
  if (parent === undefined && stage === undefined)
    throw wrongUsage('no stage was named', 'give --stage NAME or set HOOP_STAGE')
  const wish = {
    scope: scopeOf(stage, readConnections(orVariable(options.connections, 'HOOP_CONNECTIONS'))),
    ttl: readDuration(orVariable(options.ttl, 'HOOP_TTL')),
  }
  const rewrites = readRewrites(options.env)
  const job = readJob(options.job)
  const source: Source =
    parent === undefined
      ? { kind: 'platform', platform: choosePlatform(orVariable(options.platform, 'HOOP_PLATFORM')) }
      : { kind: 'home', home: parent }
  const connected =
    parent === undefined
      ? await connectGateway(orVariable(options.gateway, 'HOOP_GATEWAY'), orVariable(options.ca, 'HOOP_CA'))
      : await connectGateway(parent.card.gateway, parent.ca)
  const home = parent === undefined ? await claimHome(process.env) : await makeHome()
  try {
    const { card } = await openIdentity(connected, home, {
      source,
      wish,
      environment: process.env,
      rewrites: ({ connections }) => ({ ...inherited(parent?.card.rewrites, connections), ...rewrites }),
    })
    await releaseHome(home)
    // Somebody's linked dotfiles are no reason to open nothing.
    await includeSshConfig(home).catch((error: unknown) => complain(error, options.json === true))
    if (options.renew) await renewLater({ home, card, job, ttl: wish.ttl })
    const { identity } = card
    const connections = identity.connections.map(({ name }) => name)
    tell(
      `${identity.id} of stage ${identity.stage} until ${identity.expires_at}, for ${connections.join(', ')}`,
    )
    if (options.json !== true) return print(home)
    printJson({
      home,
      identity: identity.id,
      stage: identity.stage,
      expires_at: identity.expires_at,
      connections,
    })
  } catch (error) {
    await excludeSshConfig(home).catch(() => undefined) // the first fault is the one to tell
    await removeHome(home)
    throw error
  } finally {
    connected.transport.close()
  }
}

/** Settings for later steps are renewed by a process in the background; without one they are good until they expire. */
async function renewLater(
  what: Pick<Parameters<typeof startRenewal>[0], 'home' | 'card' | 'job' | 'ttl'>,
): Promise<void> {
  try {
    await startRenewal({ ...what, command: selfCommand(), environment: process.env })
  } catch (error) {
    tell(`the identity is not renewed in the background (${String(error)})`)
  }
}

function readJob(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^[1-9][0-9]{0,9}$/.test(text)) return Number(text)
  throw wrongUsage(`--job ${JSON.stringify(text)} is no process`, 'give its number: --job $$')
}
