import type { Catalog, CatalogRelation, Made } from './analyzer.ts'

type Lookup = Pick<Catalog, 'relation' | 'functionSchemas' | 'functionReads'>

/**
 * What is known, together with what was made and no catalog shows yet (a transaction's own are seen by nobody else): a
 * function is found where it was made, and a view stands for nobody knows what.
 */
export function withMade<T extends Lookup>(known: T, made: readonly Made[]): T {
  const views = made.filter(({ kind }) => kind === 'view')
  const functions = made.filter(({ kind }) => kind === 'function')
  return {
    ...known,
    relation: (schema, name) =>
      views.some((view) => means(view.schema, schema) && means(view.name, name))
        ? unseenView(schema, name)
        : known.relation(schema, name),
    functionSchemas: (name) => {
      const found = functions.filter((each) => means(each.name, name)).map(({ schema }) => schema)
      return found.length === 0
        ? known.functionSchemas(name)
        : [...new Set([...known.functionSchemas(name), ...found])]
    },
    functionReads: (schema, name) =>
      functions.some((each) => means(each.name, name) && means(each.schema, schema))
        ? ['*.*.*']
        : known.functionReads(schema, name),
  }
}

function means(made: string, name: string): boolean {
  return made === name || made === '*'
}

function unseenView(schema: string, name: string): CatalogRelation {
  return { schema, name, kind: 'view', columns: [], reads: [] }
}

/** True for a view of which nothing is known but that it was made. */
export function isUnseen({ kind, definition }: CatalogRelation): boolean {
  return kind === 'view' && definition === undefined
}
