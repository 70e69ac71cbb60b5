import type { KeyObject } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { Refused } from '../../core/errors.ts'
import type { Protocol } from '../../core/protocol.ts'
import { SshConversation } from './conversation.ts'
import type { ReadSecret } from './dial.ts'
import { speedUpGcm } from './gcm.ts'
import { type Thumbprint, readGreeting } from './greeting.ts'

export { knownHostsKey } from './greeting.ts'

export interface SshOptions {
  /** P-256: what clients have pinned. */
  readonly hostKey: KeyObject
  readonly thumbprint: Thumbprint
  readonly readSecret: ReadSecret
  /** Milliseconds of a duration as configured. */
  readonly readDuration: (text: string) => number
  /** Counts failed proofs by address: throws when an address has used up its share, and is told of each. */
  readonly failures: { check(address: string): void; note(address: string): void }
}

/** The SSH protocol, version 2 (RFC 4251 to 4254), for clients that reach a host through the gateway. */
export function createSsh({ hostKey, thumbprint, readSecret, readDuration, failures }: SshOptions): Protocol {
  speedUpGcm()
  // ssh2 reads no PKCS#8.
  const pem = String(hostKey.export({ type: 'sec1', format: 'pem' }))
  return {
    name: 'ssh',
    async greet(client, signal) {
      const address = 'remoteAddress' in client ? String(client.remoteAddress) : ''
      const greeted = await readGreeting(client, { hostKey: pem, thumbprint, signal })
      // A key that signed is no guess: its holder is not locked out by what a neighbour tries.
      if (greeted.proof.kind === 'token') refuseIfTooMany(() => failures.check(address), client)
      return new SshConversation(greeted, { readSecret, readDuration, failed: () => failures.note(address) })
    },
  }
}

function refuseIfTooMany(check: () => void, client: Duplex): void {
  try {
    check()
  } catch (cause) {
    client.destroy()
    throw new Refused('overloaded', 'too many proofs of this address failed', 'wait a minute', { cause })
  }
}
