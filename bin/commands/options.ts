import { type Command, Option } from 'commander'
import { printable, wrongUsage } from '../../client/error.ts'
import { platforms } from '../../client/platform.ts'

/** What every client command takes. */
export interface ClientOptions {
  readonly gateway?: string
  readonly ca?: string
  readonly platform?: string
  readonly json?: boolean
}

/** Adds the options that every client command takes. Values from the environment stand in for those not given. */
export function withClientOptions(command: Command): Command {
  return command
    .option('--gateway <url>', 'the gateway, https://HOST:PORT (HOOP_GATEWAY)')
    .option('--ca <pem|path|pin>', 'what its certificate must lead to: PEM, a path, or sha256:… (HOOP_CA)')
    .addOption(new Option('--platform <name>', 'where the ID token comes from').choices(platforms))
    .option('--json', 'print JSON')
}

/** Adds where an operator's command finds its gateway. */
export function withOperatorOptions(command: Command): Command {
  return withClientOptions(command).option(
    '--config <file>',
    'hoop.yaml, on the gateway’s own machine; elsewhere set HOOP_GATEWAY, HOOP_CA and HOOP_OPERATOR_TOKEN',
  )
}

const ids = { approval: /^apr_[a-z2-7]{26}$/, session: /^ses_[a-z2-7]{26}$/ } as const

/** An id, whole, which ends up in a path; anything else is wrong usage, a part of one, too: it could come to mean another. */
export function checkId(of: keyof typeof ids, id: string): string {
  if (ids[of].test(id)) return id
  throw wrongUsage(
    `${JSON.stringify(printable(id, 80))} is not the id of one ${of}`,
    `copy all of it from \`hoop-access ${of}s list\``,
  )
}

/** For options that may be given several times. */
export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value]
}

/** The value of an option, or of the variable that stands in for it; empty is none. */
export function orVariable(value: string | undefined, variable: string): string | undefined {
  return value ?? (process.env[variable] || undefined)
}
