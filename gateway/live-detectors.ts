import type { Detectors } from './core/session.ts'
import { createDetectors } from './masking/detectors.ts'
import { compilePatterns } from './masking/patterns.ts'
import { readSecret } from './policy/load.ts'
import type { Secret } from './policy/schema.ts'
import { type Settings, confidentialIn } from './settings.ts'

/** How many that files were renewed with are known beside those of the settings: the oldest is forgotten first. */
const MOST_RENEWED = 64

/**
 * The detectors of secrets that the settings in force ask for, the same object whatever is in force: sessions that run have the
 * newest. They know what the file of a secret was renewed with before anybody uses it.
 */
export class LiveDetectors implements Detectors {
  #settings: Settings
  #detectors: Detectors
  /** By when they were first read. */
  #renewed = new Set<string>()

  constructor(settings: Settings) {
    this.#settings = settings
    this.#detectors = detectorsOf(settings, this.#renewed)
  }

  /** Makes all that can fail, and gives what puts it in force. */
  prepare(settings: Settings): () => void {
    const detectors = detectorsOf(settings, this.#renewed)
    return () => {
      this.#settings = settings
      this.#detectors = detectors
    }
  }

  /** `readSecret` for whoever uses a secret. */
  readonly readSecret = (secret: Secret): string => {
    const value = readSecret(secret)
    const text = typeof secret === 'string' ? null : confidentialIn(value)
    if (text !== null && !this.#settings.secrets.includes(text) && !this.#renewed.has(text)) this.#learn(text)
    return value
  }

  readonly redact: Detectors['redact'] = (bytes, onFound) => this.#detectors.redact(bytes, onFound)
  readonly redactText: Detectors['redactText'] = (text) => this.#detectors.redactText(text)
  readonly createStream: Detectors['createStream'] = (onFound) => this.#detectors.createStream(onFound)

  #learn(text: string): void {
    const renewed = new Set([...this.#renewed, text].slice(-MOST_RENEWED))
    this.#detectors = detectorsOf(this.#settings, renewed)
    this.#renewed = renewed
  }
}

function detectorsOf({ config, secrets }: Settings, renewed: ReadonlySet<string>): Detectors {
  return createDetectors({
    default: config.detectors.default,
    literals: [...secrets, ...renewed],
    patterns: compilePatterns(config.detectors.patterns),
  })
}
