import type { Command } from 'commander'
import { connectGateway } from '../../client/connect.ts'
import { printable } from '../../client/error.ts'
import { endLogin, forgetLogin, keepLogin, logIn, readLogin } from '../../client/login.ts'
import { type ClientOptions, orVariable, withClientOptions } from './options.ts'
import { printJson, tell } from './terminal.ts'

/** `hoop-access login` and `logout`: a person's login, for `hoop-access approvals`. */
export function addLogin(program: Command): void {
  withClientOptions(program.command('login'))
    .description('log in as yourself, to see and answer approvals')
    .action(enter)
  withClientOptions(program.command('logout')).description('end the login of this terminal').action(leave)
}

async function enter(options: ClientOptions): Promise<void> {
  const { transport } = await connectGateway(
    orVariable(options.gateway, 'HOOP_GATEWAY'),
    orVariable(options.ca, 'HOOP_CA'),
  )
  const login = await logIn(transport, ({ url, code, seconds }) => {
    tell(
      `open ${printable(url)} and type the code ${printable(code, 16)} (good for ${Math.round(seconds / 60)} minutes)`,
    )
  })
  transport.close()
  await keepLogin(login)
  const until = new Date(login.expiresAt).toISOString()
  if (options.json === true)
    return printJson({ person: login.person, gateway: login.gateway, expires_at: until })
  tell(`logged in as ${printable(login.person, 200)} at ${login.gateway} until ${until}`)
}

async function leave({ json }: ClientOptions): Promise<void> {
  const login = await readLogin()
  // Gone here first: what the gateway cannot be told ends by itself, and is known to nobody any more.
  await forgetLogin()
  if (login === null) return json === true ? printJson({ person: null }) : tell('nobody was logged in')
  const { transport } = await connectGateway(login.gateway, login.ca ?? undefined)
  await endLogin(transport, login)
  transport.close()
  if (json === true) return printJson({ person: login.person, gateway: login.gateway })
  tell(`logged out at ${login.gateway}`)
}
