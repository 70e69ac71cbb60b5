import { dirname, join } from 'node:path'
import {
  addPath,
  exportVariable,
  getInput,
  info,
  setFailed,
  setOutput,
  setSecret,
  warning,
} from '@actions/core'
import { startRenewal } from '../../client/background.ts'
import { writeCommand } from '../../client/command.ts'
import { type Connected, connectGateway } from '../../client/connect.ts'
import { ClientError, wrongUsage } from '../../client/error.ts'
import { makeHome, readHome } from '../../client/home.ts'
import { includeSshConfig } from '../../client/ssh-settings.ts'
import { type Opened, openIdentity, type Source } from '../../client/open.ts'
import { choosePlatform } from '../../client/platform.ts'
import { opensshKey } from '../../client/openssh.ts'
import { readConnections, readDuration, readRewrites, scopeOf } from '../../client/scope.ts'
import { tokenVariables } from '../../client/settings.ts'
import { saveEnding, saveHome, saveVariables } from './state.ts'

/** The action's inputs, read and checked before anything is asked for. */
function readInputs() {
  const exported = getInput('export')
  if (exported !== '' && exported !== 'token') {
    throw wrongUsage(`\`export\` is ${JSON.stringify(exported)}`, 'write `export: token`, or leave it out')
  }
  const approvalTimeout = getInput('approval-timeout')
  readDuration(approvalTimeout)
  return {
    gateway: getInput('gateway', { required: true }),
    ca: getInput('ca'),
    wish: {
      scope: scopeOf(getInput('stage', { required: true }), readConnections(getInput('connections'))),
      ttl: readDuration(getInput('ttl')),
    },
    rewrites: readRewrites(getInput('env')),
    exportToken: exported === 'token',
    approvalTimeout,
  }
}

async function main(): Promise<void> {
  const inputs = readInputs()
  const home = await makeHome()
  saveHome(home)
  const connected = await connectGateway(inputs.gateway, inputs.ca)
  const opened = await openIdentity(connected, home, {
    source: await chooseSource(connected),
    wish: inputs.wish,
    exchanged: (held) => {
      hide(held.token)
      hide(held.key.pem)
      saveEnding(connected, held)
    },
    environment: process.env,
    rewrites: () => inputs.rewrites,
  })
  await includeSshConfig(home).catch((error: unknown) => warning(String(error)))
  hide(opensshKey(opened.held.key, ''))
  const { token } = opened.held
  const variables = {
    ...opened.settings,
    ...(inputs.exportToken ? tokenVariables(token) : {}),
    ...(inputs.approvalTimeout === '' ? {} : { HOOP_APPROVAL_TIMEOUT: inputs.approvalTimeout }),
  }
  saveVariables(Object.keys(variables), opened.card)
  for (const [name, value] of Object.entries(variables)) exportVariable(name, value)
  // For later steps: `hoop-access exec …`, by the runner's own Node.
  const command = [process.execPath, join(dirname(process.argv[1] ?? ''), 'hoop-access.cjs')]
  addPath(await writeCommand(home, command))
  announce(home, opened, await renewLater(home, opened, { command, ttl: inputs.wish.ttl }))
  connected.transport.close()
}

/** A process of its own renews while the job's worker lives; whether there is anything to renew. */
async function renewLater(
  home: string,
  { card }: Opened,
  how: { readonly command: readonly string[]; readonly ttl: number | undefined },
): Promise<boolean> {
  try {
    return await startRenewal({ home, card, ...how, job: process.ppid, environment: process.env })
  } catch (error) {
    warning(`The identity is not renewed in the background: ${String(error)}`)
    return false
  }
}

/**
 * A job has one root identity: where an earlier use of this action left one for the same gateway, ours is a child of
 * it. Otherwise GitHub's word about the job is exchanged.
 */
async function chooseSource({ transport }: Connected): Promise<Source> {
  const before = process.env.HOOP_HOME
  if (before !== undefined && before !== '') {
    try {
      const home = await readHome(before)
      if (home.card.gateway === transport.gateway.origin && home.held.expiresAt > Date.now()) {
        info(`This job is already ${home.card.identity.id}: taking a narrower identity from it.`)
        return { kind: 'home', home }
      }
    } catch (error) {
      info(
        `The identity in ${before} cannot be used: ${error instanceof Error ? error.message : 'unknown error'}`,
      )
    }
  }
  return { kind: 'platform', platform: choosePlatform('github') }
}

/** The runner masks whole values and single lines: a key is hidden line by line, but not lines that any key has. */
function hide(secret: string): void {
  for (const line of secret.split('\n')) {
    if (line.length >= 8 && !line.startsWith('-----')) setSecret(line)
  }
}

function announce(home: string, { card, held }: Opened, renewed: boolean): void {
  const { identity } = card
  const expiresAt = new Date(held.expiresAt).toISOString()
  setOutput('identity', identity.id)
  setOutput('expires-at', expiresAt)
  setOutput('home', home)
  setOutput('session-url', `${card.gateway}/identities/${identity.id}`)
  const connections = identity.connections.map(({ name, operations }) =>
    operations === undefined ? name : `${name} (${operations.join(', ')} only)`,
  )
  info(`This job is ${identity.id} of stage ${identity.stage} until ${expiresAt}.`)
  info(
    renewed
      ? `It is renewed in the background, until ${identity.renewable_until} at the latest.`
      : 'It cannot be renewed (its stage has no longer max_ttl): what runs longer needs one.',
  )
  info(`Connections: ${connections.join(', ')}.`)
  for (const [variable, connection] of Object.entries(card.rewrites)) {
    info(`${variable} leads to ${connection} through the gateway.`)
  }
}

main().catch((error: unknown) => {
  setFailed(
    error instanceof ClientError
      ? `${error.why}.\nNext: ${error.next}`
      : error instanceof Error
        ? error
        : String(error),
  )
})
