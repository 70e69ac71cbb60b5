import type { Command } from 'commander'
import { formatEnvironment, formats, readFormat } from '../../client/environment.ts'
import { readHome } from '../../client/home.ts'
import { environmentOf, tokenVariables } from '../../client/settings.ts'
import { type ClientOptions, withClientOptions } from './options.ts'

interface Options extends ClientOptions {
  readonly format: string
  readonly withToken?: boolean
}

/** `hoop-access env`: the settings of the identity in force, as text for a shell or a program. */
export function addEnv(program: Command): void {
  withClientOptions(program.command('env'))
    .description('print the settings of the identity in force (HOOP_HOME): paths and endpoints')
    .option('--format <name>', `one of ${formats.join(', ')}`, 'sh')
    .option('--with-token', 'also the token, as HOOP_TOKEN and PGPASSWORD')
    .action(async (options: Options) => {
      const format = readFormat(options.json === true ? 'json' : options.format)
      const home = await readHome(process.env.HOOP_HOME)
      const variables = {
        ...environmentOf(home.path, home.card, { current: process.env }),
        ...(options.withToken === true ? tokenVariables(home.held.token) : {}),
      }
      process.stdout.write(formatEnvironment(variables, format))
    })
}
