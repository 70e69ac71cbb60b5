import type { Command } from 'commander'
import { connectGateway } from '../../client/connect.ts'
import { wrongUsage } from '../../client/error.ts'
import { exec } from '../../client/exec.ts'
import { readHome } from '../../client/home.ts'
import { choosePlatform } from '../../client/platform.ts'
import { readRewrites } from '../../client/scope.ts'
import { type ClientOptions, collect, orVariable, withClientOptions } from './options.ts'
import { tell, tellJson } from './terminal.ts'

interface Options extends ClientOptions {
  readonly stage?: string
  readonly connections?: string
  readonly ttl?: string
  readonly approvalTimeout?: string
  readonly env?: readonly string[]
  readonly keepEnv?: readonly string[]
  readonly sandbox?: boolean
  readonly auditOnly?: boolean
}

const help = `
The command gets an identity of its own: narrower than the one in force (HOOP_HOME), or without one, the job's own.
It is revoked when the command ends. Signals and the exit code pass through; hoop-access's own failures exit 125,
a command that cannot be run 126, one that is not found 127, and an approval that comes too late 4.

Its environment holds no credential of the parent and no platform token (ACTIONS_ID_TOKEN_REQUEST_*, CI_JOB_TOKEN,
*_ID_TOKEN, GITHUB_TOKEN …). Without a sandbox this stops mistakes, and not code of the same user that sets out to read
its parent's files, memory or environment: the system lets it. With --sandbox it does not: the command sees only its own
processes, and neither the folders of other identities nor the sockets of other programs. It still has the network, and
may change the files that its user may: what it writes, others may run.

Standard output and standard error are the command's; what hoop-access itself has to say goes to standard error. With
--json that is one object a line: { message }, with { approval } for one that waits or was answered, { observed } for what
--audit-only saw, and { error, next } for a failure.`

/** `hoop-access exec`: runs a command under a narrower identity that ends with it. */
export function addExec(program: Command): void {
  withClientOptions(program.command('exec'))
    .description('run a command under a narrower child identity, which is revoked when the command ends')
    .argument('<command...>', 'the command, after --')
    .option('--stage <name>', 'the stage to become; that of the identity in force when not given')
    .option(
      '--connections <list>',
      'only these, each narrowed as NAME:OPERATION: a,b:read (HOOP_CONNECTIONS)',
    )
    .option('--ttl <duration>', 'a shorter life: 10m (HOOP_TTL)')
    .option(
      '--env <NAME=connection>',
      'a variable with a connection string that is to lead to a connection; those of the identity in force do anyway',
      collect,
    )
    .option(
      '--approval-timeout <duration>',
      'end the command when an approval waits longer (HOOP_APPROVAL_TIMEOUT)',
    )
    .option(
      '--keep-env <name>',
      'a platform token that the command may see all the same: GITHUB_TOKEN',
      collect,
    )
    .option('--sandbox', 'keep the command from its parent’s files, memory, environment and sockets (Linux)')
    .option(
      '--audit-only',
      'let the command do all that the identity above may, and tell at its end what this narrower one would have refused',
    )
    .passThroughOptions()
    .addHelpText('after', help)
    .action(run)
}

async function run(command: string[], options: Options): Promise<void> {
  const home = process.env.HOOP_HOME ? await readHome(process.env.HOOP_HOME) : undefined
  // The stage in HOOP_STAGE is the one in force; a child becomes another only when the call says so.
  const stage = home === undefined ? orVariable(options.stage, 'HOOP_STAGE') : options.stage
  if (home === undefined && options.auditOnly === true) {
    throw wrongUsage(
      'no identity is in force, and --audit-only needs one that decides',
      'open the wider identity first (`hoop-access open`), and run this with its HOOP_HOME',
    )
  }
  if (home === undefined && stage === undefined) {
    throw wrongUsage(
      'no identity is in force, and no stage was named',
      'give --stage NAME, or open an identity first',
    )
  }
  const connected =
    home === undefined
      ? await connectGateway(orVariable(options.gateway, 'HOOP_GATEWAY'), orVariable(options.ca, 'HOOP_CA'))
      : await connectGateway(home.card.gateway, home.ca)
  try {
    process.exitCode = await exec(connected, {
      command,
      source:
        home === undefined
          ? { kind: 'platform', platform: choosePlatform(orVariable(options.platform, 'HOOP_PLATFORM')) }
          : { kind: 'home', home },
      stage,
      connections: orVariable(options.connections, 'HOOP_CONNECTIONS'),
      rewrites: readRewrites(options.env),
      ttl: orVariable(options.ttl, 'HOOP_TTL'),
      approvalTimeout: orVariable(options.approvalTimeout, 'HOOP_APPROVAL_TIMEOUT'),
      sandbox: options.sandbox === true,
      auditOnly: options.auditOnly === true,
      starter: process.env.HOOP_STARTER ? Number(process.env.HOOP_STARTER) : undefined,
      keepEnv: options.keepEnv ?? [],
      environment: process.env,
      tell: options.json === true ? tellJson : tell,
    })
  } finally {
    connected.transport.close()
  }
}
