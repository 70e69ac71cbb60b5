/** Something wrong in hoop.yaml, where it stands: line and column from 1. */
export interface Fault {
  /** As it was given to the reader. */
  readonly file: string
  readonly line: number
  readonly column: number
  /** `stages.deploy.grants[0].connection`; empty for the whole file. */
  readonly path: string
  /** One sentence; never the value of a secret. */
  readonly message: string
}

/** Where a value stands in hoop.yaml: keys and indices from the root. */
export type Path = readonly (string | number)[]

/** Where findings about one configuration are gathered. */
export interface Findings {
  fault(path: Path, message: string): void
  warn(path: Path, message: string): void
}

/** One line a fault: `hoop.yaml:12:5 message`. */
export function renderFaults(faults: readonly Fault[]): string {
  return faults.map((fault) => `${fault.file}:${fault.line}:${fault.column} ${fault.message}\n`).join('')
}

/** A path as people write it: `stages.deploy.grants[0]`. */
export function writePath(path: Path): string {
  return path
    .map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`))
    .join('')
}

/** The name nearest to a mistyped one, at most a third of its letters away, or null. */
export function nearest(name: string, known: readonly string[]): string | null {
  if (name.length > 64) return null
  let best: string | null = null
  let least = Math.max(1, Math.floor(name.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (distance < least) {
      least = distance
      best = candidate
    }
  }
  return best
}

/** `, did you mean `x`?`, or the known names when none is near and they are few. */
export function suggest(name: string, known: readonly string[]): string {
  const near = nearest(name, known)
  if (near !== null) return `, did you mean \`${near}\`?`
  if (known.length === 0) return ''
  return known.length > 24 ? '' : `; known: ${known.join(', ')}`
}

// Levenshtein, with the exchange of neighbours as one step (optimal string alignment).
function editDistance(a: string, b: string): number {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1
      let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + same)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (before[j - 2] ?? 0) + 1)
      }
      row.push(cost)
    }
    before = last
    last = row
  }
  return last[b.length] ?? 0
}
