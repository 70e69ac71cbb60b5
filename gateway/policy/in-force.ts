import { isDeepStrictEqual } from 'node:util'
import { GatewayError } from '../core/errors.ts'
import { compilePolicy } from './compile.ts'
import type { Policy } from './policy.ts'
import type { Config } from './schema.ts'

/** What is read once, when the gateway starts: parts of it listen, hold connections, or answer for the gateway's name. */
const fixed = ['gateway', 'issuers', 'slack', 'smtp', 'console'] as const

/** The configuration in force and the policy that it states: replaced as one, or not at all. */
export class InForce {
  #config: Config
  #policy: Policy

  constructor(config: Config) {
    this.#config = config
    this.#policy = compilePolicy(config)
  }

  get config(): Config {
    return this.#config
  }

  get policy(): Policy {
    return this.#policy
  }

  /** Puts another in its place. Throws `GatewayError` `invalid_config`, and changes nothing, where it differs in what is read only at a start. */
  replace(next: Config): void {
    const stale = fixed.filter(
      (section) => !isDeepStrictEqual(bare(next, section), bare(this.#config, section)),
    )
    if (stale.length > 0) {
      throw new GatewayError(
        'invalid_config',
        `changed in what is read only when the gateway starts: ${stale.join(', ')}. Nothing was taken over; start the gateway again for it`,
      )
    }
    const policy = compilePolicy(next)
    this.#config = next
    this.#policy = policy
  }
}

/** A section without what can change while the gateway runs: its certificate. */
function bare(config: Config, section: (typeof fixed)[number]): unknown {
  if (section !== 'gateway') return config[section]
  const { tls: _, ...rest } = config.gateway
  return rest
}
