import { type Command, Option } from 'commander'
import { type Format, formatEnvironment, formats } from '../../client/environment.ts'
import { readHome } from '../../client/home.ts'
import { environmentOf, tokenVariables } from '../../client/settings.ts'
import { type ClientOptions, withClientOptions } from './options.ts'

interface Options extends ClientOptions {
  readonly format: Format
  readonly withToken?: boolean
}

/** `hoop-access env`: the settings of the identity in force, as text for a shell or a program. */
export function addEnv(program: Command): void {
  withClientOptions(program.command('env'))
    .description('print the settings of the identity in force (HOOP_HOME): paths and endpoints')
    .addOption(new Option('--format <name>', 'for whom').choices(formats).default('sh'))
    .option('--with-token', 'also the token, as HOOP_TOKEN and PGPASSWORD')
    .action(async (options: Options) => {
      const format = options.json === true ? 'json' : options.format
      const home = await readHome(process.env.HOOP_HOME)
      const variables = {
        ...environmentOf(home.path, home.card, { current: process.env }),
        ...(options.withToken === true ? tokenVariables(home.held.token) : {}),
      }
      process.stdout.write(formatEnvironment(variables, format))
    })
}
