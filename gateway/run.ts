import { type Logger, pino } from 'pino'
import { GatewayError } from './core/errors.ts'
import { type RunningGateway, startGateway } from './main.ts'

const DRAIN_MS = 30_000

/** `hoop-access gateway`: runs until SIGTERM or SIGINT, then drains; a second signal ends it at once. */
export async function runGateway(options: {
  readonly config: string
  readonly version: string
  readonly jobFiles?: string | undefined
  readonly acceptLedgerLoss?: string | undefined
}): Promise<void> {
  if (process.env.NODE_TLS_REJECT_UNAUTHORIZED === '0') {
    throw new GatewayError(
      'invalid_config',
      'NODE_TLS_REJECT_UNAUTHORIZED=0 would have the gateway take anybody for its issuers, platforms and login: unset it; a CA of your own goes into a file that NODE_EXTRA_CA_CERTS names',
    )
  }
  const log = pino({ name: 'hoop-access', level: levelOf(process.env.HOOP_LOG_LEVEL) }, pino.destination(2))
  const starting = startGateway({ ...options, env: process.env, log })
  // One after the other, the last one wins; the first one not before there is something to reload.
  let reloading: Promise<unknown> = starting
  process.on('SIGHUP', () => {
    reloading = reloading.then(async () => reload(await starting, log))
  })
  const gateway = await starting
  // Whoever reads that it is ready may signal at once.
  const signalled = new Promise<string>((stop) => {
    process.once('SIGTERM', stop)
    process.once('SIGINT', stop)
  })
  const { address, port } = gateway.address
  console.log(`hoop-access gateway is ready on ${address}:${port}, for clients at ${gateway.url}`)
  console.log(`clients verify it by --ca ${gateway.pin} (not secret)`)
  const signal = await signalled
  for (const again of ['SIGTERM', 'SIGINT']) process.once(again, () => process.exit(1))
  log.info({ signal }, 'stopping: sessions have 30 s to end')
  await gateway.close(DRAIN_MS)
}

const levels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

function levelOf(given: string | undefined): string {
  const wanted = given === undefined || given === '' ? 'info' : given
  if (levels.includes(wanted)) return wanted
  throw new GatewayError(
    'invalid_config',
    `HOOP_LOG_LEVEL is ${JSON.stringify(wanted)}: use one of ${levels.join(', ')}`,
  )
}

async function reload(gateway: RunningGateway, log: Logger): Promise<void> {
  try {
    const { version, before } = await gateway.reload()
    log.info(
      { version, before },
      version === before
        ? 'read again: the policy is the same; secrets and files are taken as they are now'
        : 'another policy is in force',
    )
  } catch (err) {
    log.error({ err }, 'the configuration was not taken over; the one before stays in force')
  }
}
