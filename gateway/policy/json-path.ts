/** One step of a path: a name, an index, any child (`[*]`, `.*`), or what follows at any depth (`..`). */
export type Step =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'index'; readonly index: number }
  | { readonly kind: 'any' }
  | { readonly kind: 'deep' }

/** A compiled path; it names every value that it leads to. */
export type JsonPath = readonly Step[]

const LONGEST = 32

/** Compiles the part of JSONPath (RFC 9535) that needs no looking back: `$.a.b`, `$['a b']`, `$.a[0]`, `$.a[*]`, `$.*`, `$..a`. Null for anything else. */
export function compilePath(text: string): JsonPath | null {
  if (!text.startsWith('$') || text.length > 256) return null
  const form =
    /(\.\.)?(?:(?<=\.\.)|\.|(?=\[))(?:\*|([\p{L}_][\p{L}\p{N}_-]*)|\[(?:(\*)|(\d{1,9})|'((?:[^'\\]|\\['\\])*)'|"((?:[^"\\]|\\["\\])*)")\])/uy
  const steps: Step[] = []
  form.lastIndex = 1
  while (form.lastIndex < text.length) {
    const [found, deep, plain, , index, single, double] = form.exec(text) ?? []
    if (found === undefined || steps.length >= LONGEST) return null
    if (deep !== undefined) steps.push({ kind: 'deep' })
    const name = plain ?? (single ?? double)?.replaceAll(/\\(['"\\])/g, '$1')
    if (name !== undefined) steps.push({ kind: 'name', name })
    else if (index !== undefined) steps.push({ kind: 'index', index: Number(index) })
    else steps.push({ kind: 'any' })
  }
  return steps
}

/** How many steps of a path are behind, in every way that is still open. All paths begin with `start`. */
export type Progress = readonly number[]

export const start: Progress = [0]

/** True when the value that was come to is one that the path names. */
export function arrived(path: JsonPath, progress: Progress): boolean {
  return progress.includes(path.length)
}

/** The progress at a child: its name (by `same`), or its index. Empty when no way leads on. */
export function advance(
  path: JsonPath,
  progress: Progress,
  child: string | number | null,
  same: (wanted: string, name: string) => boolean,
): Progress {
  const next = new Set<number>()
  const take = (at: number): void => {
    const step = path[at]
    if (step === undefined) return
    if (step.kind === 'deep') {
      next.add(at)
      return take(at + 1)
    }
    const leads =
      step.kind === 'any' ||
      (step.kind === 'index' ? step.index === child : typeof child === 'string' && same(step.name, child))
    if (leads) next.add(at + 1)
  }
  for (const at of progress) take(at)
  return [...next]
}
