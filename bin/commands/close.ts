import type { Command } from 'commander'
import { endRenewal } from '../../client/background.ts'
import { connectGateway } from '../../client/connect.ts'
import { revoke } from '../../client/exchange.ts'
import { readHome, removeHome } from '../../client/home.ts'
import { excludeSshConfig } from '../../client/ssh-settings.ts'
import { type ClientOptions, withClientOptions } from './options.ts'
import { printJson, tell } from './terminal.ts'

/** `hoop-access close`: ends the identity in force and all below it, and removes its folder. */
export function addClose(program: Command): void {
  withClientOptions(program.command('close'))
    .description('revoke the identity in force (HOOP_HOME) and all its descendants, and remove the folder')
    .action(async (options: ClientOptions) => {
      const { path, card, held, ca } = await readHome(process.env.HOOP_HOME)
      for (const note of await endRenewal(path)) tell(note)
      try {
        const { transport } = await connectGateway(card.gateway, ca)
        await revoke(transport, held)
        transport.close()
        tell(`${card.identity.id} is revoked`)
      } finally {
        // Whatever the gateway says: without its key the identity is of no use.
        await excludeSshConfig(path).catch((error: unknown) => tell(String(error)))
        await removeHome(path)
      }
      if (options.json === true) printJson({ identity: card.identity.id, revoked: true })
    })
}
