import type { Keyword, Verify } from './keywords.ts'

/** Shorter secrets would be found in what is none. */
const shortest = 8

/** Keywords for the gateway's own secrets, as they stand and in the forms in which they leak: base64, hex, URL and JSON escapes. */
export function literalKeywords(literals: readonly string[], verify: Verify): Keyword[] {
  const plain = new Set<string>()
  const folded = new Set<string>()
  for (const literal of literals) {
    const bytes = Buffer.from(literal)
    if (bytes.length < shortest) continue
    plain.add(literal)
    plain.add(JSON.stringify(literal).slice(1, -1))
    const escaped = encodeURIComponent(literal)
    for (const form of [escaped, escaped.replaceAll('%20', '+')]) {
      plain.add(form)
      plain.add(form.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()))
    }
    folded.add(bytes.toString('hex'))
    for (const form of base64Forms(bytes)) {
      plain.add(form)
      plain.add(form.replaceAll('+', '-').replaceAll('/', '_'))
    }
  }
  return [
    ...[...plain].map((text) => ({ bytes: Buffer.from(text), fold: false, verify })),
    ...[...folded].map((text) => ({ bytes: Buffer.from(text), fold: true, verify })),
  ]
}

/** What is common to every base64 text that holds the bytes, for each of the three alignments. */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
    // The first characters mix with what stands before, the last with what stands after.
    const whole = Math.floor(((offset + bytes.length) * 8) / 6)
    return text.slice(Math.ceil((offset * 8) / 6), whole)
  })
}
