import type { Catalog, CatalogRelation, Made } from './analyzer.ts'

type Lookup = Pick<Catalog, 'relation' | 'functionSchemas' | 'functionReads'>

/**
 * What is known, together with what was made and no catalog shows yet (a transaction's own are seen by nobody else): a
 * function is found where it was made, and a view stands for nobody knows what. What is made later may be added to `made`.
 */
export function withMade<T extends Lookup>(known: T, made: MadeNames): T {
  return {
    ...known,
    relation: (schema, name) =>
      made.has('view', schema, name) ? unseenView(schema, name) : known.relation(schema, name),
    functionSchemas: (name) => {
      const found = made.schemas('function', name)
      return found.length === 0
        ? known.functionSchemas(name)
        : [...new Set([...known.functionSchemas(name), ...found])]
    },
    functionReads: (schema, name) =>
      made.has('function', schema, name) ? ['*.*.*'] : known.functionReads(schema, name),
  }
}

/** Names of what was made: by kind and name, the schemas. */
export class MadeNames {
  readonly #schemas = new Map<string, Set<string>>()

  constructor(made: readonly Made[]) {
    this.add(made)
  }

  add(made: readonly Made[]): void {
    for (const { kind, schema, name } of made) {
      const key = `${kind} ${name}`
      const schemas = this.#schemas.get(key)
      if (schemas === undefined) this.#schemas.set(key, new Set([schema]))
      else schemas.add(schema)
    }
  }

  has(kind: Made['kind'], schema: string, name: string): boolean {
    return [name, '*'].some((one) => {
      const schemas = this.#schemas.get(`${kind} ${one}`)
      return schemas !== undefined && (schemas.has(schema) || schemas.has('*'))
    })
  }

  schemas(kind: Made['kind'], name: string): string[] {
    return [name, '*'].flatMap((one) => [...(this.#schemas.get(`${kind} ${one}`) ?? [])])
  }
}

function unseenView(schema: string, name: string): CatalogRelation {
  return { schema, name, kind: 'view', columns: [], reads: [] }
}

/** True for a view of which nothing is known but that it was made. */
export function isUnseen({ kind, definition }: CatalogRelation): boolean {
  return kind === 'view' && definition === undefined
}
