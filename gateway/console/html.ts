import { visible } from '../approvals/gates/words.ts'

/** Markup that is safe to send: made by `html` only. */
class Markup {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  toString(): string {
    return this.#text
  }
}

export type Html = Markup

/** What may stand in a template; text is escaped, null and false are nothing. */
export type Piece = string | number | Html | null | false | readonly Piece[]

/** A template whose texts are escaped wherever they stand; attributes are always quoted. */
export function html(parts: TemplateStringsArray, ...pieces: readonly Piece[]): Html {
  let text = parts[0] ?? ''
  for (const [index, piece] of pieces.entries()) text += render(piece) + (parts[index + 1] ?? '')
  return new Markup(text)
}

function render(piece: Piece): string {
  if (piece === null || piece === false) return ''
  if (piece instanceof Markup) return piece.toString()
  if (typeof piece === 'object') return piece.map(render).join('')
  return visible(String(piece)).replaceAll(/[&<>"']/g, (character) => entities[character] ?? '')
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
