import { join } from 'node:path'
import { exportVariable, info, notice, summary, warning } from '@actions/core'
import { endRenewal } from '../../client/background.ts'
import { readBeginning } from '../../client/beginning.ts'
import { connectGateway } from '../../client/connect.ts'
import { type ActivityView, revoke, viewActivity } from '../../client/exchange.ts'
import { removeHome } from '../../client/home.ts'
import { type Patience, retrying } from '../../client/retry.ts'
import { excludeSshConfig } from '../../client/ssh-settings.ts'
import { annotate } from './annotations.ts'
import { type Ending, pointedAround, savedEnding, savedHome, savedVariables } from './state.ts'
import { renderSummary } from './summary.ts'

// A job that is being cancelled has seconds, not minutes.
const brief: Patience = { attempts: 3, first: 300, within: 8000 }

/** Ends the identity, then clears up: each step is done whatever became of the others, and none fails the job. */
async function post(): Promise<void> {
  const around = await attempt('The variables could not be compared', async () => pointedAround(process.env))
  const notes = (around ?? []).map((name) => `${name} was pointed around the gateway by a step.`)
  for (const note of notes) warning(note)
  const home = savedHome()
  // First, so that nothing is renewed while it is being ended.
  for (const note of home === '' ? [] : await endRenewal(home)) warning(note)
  const ending = await attempt('The identity could not be read', async () => savedEnding())
  if (ending !== null && ending !== undefined) await end(ending, notes)
  if (home !== '') {
    await attempt('The ssh settings could not be taken out', () => excludeSshConfig(home))
    await attempt('The client settings could not be removed', () => removeHome(home))
  }
  // A post step can blank variables, and not unset them.
  for (const name of savedVariables()) exportVariable(name, '')
}

async function end({ gateway, ca, held }: Ending, notes: readonly string[]): Promise<void> {
  const connected = await attempt('The gateway could not be reached', () =>
    connectGateway(gateway, ca, brief),
  )
  if (connected === undefined) return
  const { transport } = connected
  // The token that was saved may have expired; it still ends the identity, and only a newer one may ask.
  const asking = { ...held, token: (await renewedToken()) ?? held.token }
  // Asked before the identity ends: afterwards it may ask for nothing.
  const activity = await attempt('What the job did could not be read', () =>
    retrying(() => viewActivity(transport, asking, AbortSignal.timeout(5000)), brief),
  )
  const revoked = await attempt('The identity could not be revoked, and ends by itself', async () => {
    await revoke(transport, held, brief)
    return true
  })
  transport.close()
  if (revoked === true) info('The identity is revoked.')
  if (activity === undefined) return
  for (const { level, text } of annotate(activity)) (level === 'notice' ? notice : warning)(text)
  await attempt('The job summary could not be written', () => summarise(activity, notes))
}

async function summarise(activity: ActivityView, notes: readonly string[]): Promise<void> {
  await summary.addRaw(renderSummary(activity, notes)).write()
}

/** The token as it was renewed; null where the folder holds none. Whatever a step wrote there, the key in our state must prove it. */
async function renewedToken(): Promise<string | null> {
  const home = savedHome()
  const token = home === '' ? '' : (await readBeginning(join(home, 'token'))).trim()
  return /^[\w.~+/=-]{1,16384}$/.test(token) ? token : null
}

async function attempt<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    warning(`${what}: ${error instanceof Error ? error.message : 'unknown error'}`)
    return undefined
  }
}

void attempt('The post step failed', post)
