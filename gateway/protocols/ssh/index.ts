import type { KeyObject } from 'node:crypto'
import type { Protocol } from '../../core/protocol.ts'
import { SshConversation } from './conversation.ts'
import type { ReadSecret } from './dial.ts'
import { type Thumbprint, readGreeting } from './greeting.ts'

export { knownHostsKey } from './greeting.ts'

export interface SshOptions {
  /** P-256: what clients have pinned. */
  readonly hostKey: KeyObject
  readonly thumbprint: Thumbprint
  readonly readSecret: ReadSecret
}

/** The SSH protocol, version 2 (RFC 4251 to 4254), for clients that reach a host through the gateway. */
export function createSsh({ hostKey, thumbprint, readSecret }: SshOptions): Protocol {
  // ssh2 reads no PKCS#8.
  const pem = String(hostKey.export({ type: 'sec1', format: 'pem' }))
  return {
    name: 'ssh',
    async greet(client, signal) {
      const greeted = await readGreeting(client, { hostKey: pem, thumbprint, signal })
      return new SshConversation(greeted, readSecret)
    },
  }
}
