import type { Mask } from '../policy/policy.ts'
import type { Token } from './json-token.ts'

/** What shows in place of a text, UTF-8 without quotes or escapes; the text is null where it is too long to be kept. Null: fixed words. */
export type MaskText = (mask: Mask, text: Uint8Array | null) => Uint8Array | null

/** What stands in JSON where a value was masked, of the same kind as that; each is told to `onMasked`. */
export class MaskedValues {
  readonly #maskText: MaskText
  readonly #onMasked: () => void

  constructor(maskText: MaskText, onMasked: () => void) {
    this.#maskText = maskText
    this.#onMasked = onMasked
  }

  text(mask: Mask, kept: Token): Uint8Array {
    this.#onMasked()
    const text = kept.text()
    const shown = this.#maskText(mask, text === null ? null : Buffer.from(text))
    return Buffer.from(JSON.stringify(shown === null ? '[masked]' : Buffer.from(shown).toString()))
  }

  /** A number shows as 0, a truth value as false; null stays. */
  literal(kept: Token): Uint8Array {
    const written = kept.raw()
    if (written === 'null') return Buffer.from(written)
    this.#onMasked()
    return Buffer.from(written === 'true' || written === 'false' ? 'false' : '0')
  }

  /** A list or map shows empty. */
  whole(map: boolean): Uint8Array {
    this.#onMasked()
    return Buffer.from(map ? '{}' : '[]')
  }
}
