import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseAllDocuments,
  type YAMLMap,
} from 'yaml'
import { type Fault, type Path, writePath } from './fault.ts'

// Aliases multiply: nine levels of nine references are 400 million values. What people write is far below both.
const maxValues = 50_000
const maxDepth = 64

/** A `${NAME}` in the file. */
export interface Variable {
  readonly path: Path
  readonly name: string
  /** Null when the environment has none, or an empty one. */
  readonly value: string | null
  /** True when it is all there is, unquoted, so that it may stand for a number or a truth value. */
  readonly alone: boolean
}

/** Hoop.yaml as plain values, and where each came from. */
export interface Source {
  readonly value: unknown
  readonly variables: readonly Variable[]
  /** A fault at the value with this path, at its key, or, when it is missing, at what it is missing from. */
  fault(path: Path, message: string, at?: 'key' | 'value'): Fault
  /** The scalar as it is written, before variables: what a message may show. */
  written(path: Path): string | null
}

/** Reads YAML 1.2 (core schema; JSON is a part of it): one document, no tags, no repeated keys, bounded aliases. */
export function readDocument(
  file: string,
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): Source | { readonly faults: readonly Fault[] } {
  const lines = new LineCounter()
  const at = (offset: number, message: string, path = ''): Fault => {
    const { line, col } = lines.linePos(offset)
    return { file, line: Math.max(line, 1), column: Math.max(col, 1), path, message }
  }
  const documents = parseAllDocuments(hideBraces(text), {
    version: '1.2',
    schema: 'core',
    resolveKnownTags: false,
    // The reader below finds them in linear time, and says where the first one is.
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: 'silent',
    lineCounter: lines,
  })
  const document = Array.isArray(documents) ? documents[0] : undefined
  if (document === undefined) return { faults: [at(0, 'the file is empty')] }
  const second = documents[1]
  if (second !== undefined) {
    return { faults: [at(second.range[0], 'one document only: this is a second one')] }
  }
  // Only the first: those after it are mostly its consequences.
  const [error] = document.errors
  if (error !== undefined) {
    // The parser goes down one call a level.
    const deep = error.message.includes('call stack')
    return { faults: [at(error.pos[0], deep ? 'nested too deep' : `YAML: ${showBraces(error.message)}`)] }
  }
  const reader = new Reader(document, env, at)
  const value = reader.read(document.contents, [], 0)
  if (reader.faults.length > 0) return { faults: reader.faults }
  return {
    value,
    variables: reader.variables,
    fault(path, message, side = 'value') {
      return at(locate(document, path, side), message, writePath(path))
    },
    written(path) {
      const node = step(document, path).node
      return isScalar(node) && node.source !== undefined ? showBraces(node.source) : null
    },
  }
}

// In a flow map, `{ token: ${TOKEN} }`, the braces of a variable would be YAML's own. So they are other characters (of
// Unicode's private use, and as long, so that columns stay) while YAML is read.
function hideBraces(text: string): string {
  return text.replaceAll(/\$\{([^{}\n]*)\}/g, '$\uE000$1\uE001')
}

function showBraces(text: string): string {
  return text.replaceAll(/\$\uE000([^{}\n\uE001]*)\uE001/g, '${$1}')
}

class Reader {
  readonly faults: Fault[] = []
  readonly variables: Variable[] = []
  readonly #document: Document
  readonly #env: Readonly<Record<string, string | undefined>>
  readonly #at: (offset: number, message: string, path?: string) => Fault
  #values = 0

  constructor(
    document: Document,
    env: Readonly<Record<string, string | undefined>>,
    at: (offset: number, message: string, path?: string) => Fault,
  ) {
    this.#document = document
    this.#env = env
    this.#at = at
  }

  read(node: unknown, path: Path, depth: number): unknown {
    if (!isNode(node)) return null
    this.#values += 1
    if (this.#values > maxValues) {
      // Once: everything after it is over the limit as well.
      if (this.#values === maxValues + 1)
        this.#refuse(node, path, `more than ${maxValues} values, aliases included`)
      return null
    }
    if (depth > maxDepth) return this.#refuse(node, path, 'nested too deep, or an alias that contains itself')
    if (isAlias(node)) {
      const target = node.resolve(this.#document)
      if (target === undefined)
        return this.#refuse(node, path, `no anchor named \`${node.source}\` before this`)
      return this.read(target, path, depth + 1)
    }
    if (node.tag !== undefined) return this.#refuse(node, path, `tags such as \`${node.tag}\` are not read`)
    if (isSeq(node)) return node.items.map((item, index) => this.read(item, [...path, index], depth + 1))
    if (isMap(node)) return this.#map(node, path, depth)
    if (!isScalar(node)) return null
    if (typeof node.value !== 'string') return node.value
    return this.#substitute(node, showBraces(node.value), path, node.type === 'PLAIN')
  }

  #map(node: YAMLMap, path: Path, depth: number): unknown {
    const entries = new Map<string, unknown>()
    for (const { key, value } of node.items) {
      const name = keyOf({ key })
      if (name === null || name === '__proto__') {
        this.#refuse(isNode(key) ? key : node, path, 'a key is text')
      } else if (entries.has(name)) {
        this.#refuse(isNode(key) ? key : node, [...path, name], `\`${name}\` is here twice`)
      } else {
        entries.set(name, this.read(value, [...path, name], depth + 1))
      }
    }
    return Object.fromEntries(entries)
  }

  #substitute(node: Node, text: string, path: Path, plain: boolean): string {
    if (!text.includes('${')) return text
    return text.replaceAll(/\$\{([^}]*)\}?/g, (whole, name: string) => {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || !whole.endsWith('}')) {
        this.#refuse(
          node,
          path,
          '`${` starts a variable, `${NAME}`; text that holds it otherwise goes into a file',
        )
        return whole
      }
      const value = Object.hasOwn(this.#env, name) ? this.#env[name] : undefined
      this.variables.push({ path, name, value: value || null, alone: plain && whole === text })
      return value || whole
    })
  }

  #refuse(node: Node, path: Path, message: string): null {
    if (this.faults.length < 20) this.faults.push(this.#at(node.range?.[0] ?? 0, message, writePath(path)))
    return null
  }
}

function keyOf(pair: Pick<Pair, 'key'>): string | null {
  if (!isScalar(pair.key)) return null
  // The source, so that a key `1` or `yes` is the text that was written.
  const written = typeof pair.key.value === 'string' ? pair.key.value : pair.key.source
  return written === undefined ? null : showBraces(written)
}

interface Place {
  readonly node: unknown
  /** Its key, for an entry of a map. */
  readonly key: unknown
  /** The place of what holds it; null for the whole. */
  readonly parent: Place | null
  readonly found: boolean
}

function step(document: Document, path: Path): Place {
  let place: Place = { node: document.contents, key: null, parent: null, found: true }
  for (const part of path) {
    const node: unknown = isAlias(place.node) ? place.node.resolve(document) : place.node
    if (isMap(node)) {
      const pair = node.items.find((item) => keyOf(item) === String(part))
      if (pair === undefined) return { ...place, found: false }
      place = { node: pair.value, key: pair.key, parent: place, found: true }
    } else if (isSeq(node) && typeof part === 'number' && part < node.items.length) {
      place = { node: node.items[part], key: null, parent: place, found: true }
    } else {
      return { ...place, found: false }
    }
  }
  return place
}

/** The offset to point at. */
function locate(document: Document, path: Path, side: 'key' | 'value'): number {
  const place = step(document, path)
  const start = (node: unknown): number | null => (isNode(node) ? (node.range?.[0] ?? null) : null)
  const key = start(place.key)
  // An empty value has no text of its own to point at, and a block begins with its first entry, which is not what is meant.
  const empty = isScalar(place.node) && place.node.range?.[0] === place.node.range?.[1]
  const block = (isMap(place.node) || isSeq(place.node)) && place.node.flow !== true
  if (key !== null && (side === 'key' || !place.found || empty || block)) return key
  return start(place.node) ?? key ?? 0
}
