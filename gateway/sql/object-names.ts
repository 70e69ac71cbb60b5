import type { RangeVar } from '@pgsql/types'
import { qualify } from './identifiers.ts'
import { isFields, open } from './parse-tree.ts'
import type { Reader } from './reader.ts'
import { creationSchemas, resolve } from './relations.ts'

/** What a name in a definition stands for, in canonical form, read as `how` says (see `definitions`). */
export function resources(
  reader: Reader,
  value: unknown,
  how: 'new' | 'relation' | 'named' | 'global' | 'schema',
): readonly string[] {
  const wrapped = isFields(value) ? value['RangeVar'] : undefined
  if (isRelation(wrapped)) return resources(reader, wrapped, how)
  if (isRelation(value)) {
    reader.facts.seen.add(value)
    if (how === 'new') return creationNames(reader, value)
    return resolve(reader, value).map((candidate) => {
      reader.facts.relation(candidate.schema, candidate.name)
      return qualify(candidate.schema, candidate.name)
    })
  }
  const names = namesIn(value)
  if (how === 'schema') return names.length === 0 ? [''] : names.map((name) => `${qualify(name)}.*`)
  if (how === 'global') return names.length === 0 ? [''] : names.map((name) => qualify(name))
  if (names.length === 0) return ['']
  return names.length > 1
    ? [qualify(...names)]
    : creationSchemas(reader).map((schema) => qualify(schema, ...names))
}

/** The names that a new relation may get. */
export function creationNames(reader: Reader, relation: RangeVar): readonly string[] {
  const schemas =
    relation.relpersistence === 't' ? ['pg_temp'] : [relation.schemaname ?? creationSchemas(reader)].flat()
  return schemas.map((schema) => qualify(schema, relation.relname ?? ''))
}

/** True for a RangeVar. */
export function isRelation(value: unknown): value is RangeVar {
  return isFields(value) && typeof value['relname'] === 'string'
}

/** The relation of a name in parts. */
export function asRelation(names: readonly string[]): RangeVar {
  const [name, schema] = names.toReversed()
  return { relname: name ?? '', ...(schema === undefined ? {} : { schemaname: schema }) }
}

/** All relations named below a value. */
export function relationsIn(value: unknown): RangeVar[] {
  if (Array.isArray(value)) return value.flatMap(relationsIn)
  if (isRelation(value)) return [value]
  return isFields(value) ? Object.values(value).flatMap(relationsIn) : []
}

/** The parts of a name in whatever form the grammar keeps it. */
export function namesIn(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (Array.isArray(value)) return value.flatMap(namesIn)
  if (!isFields(value)) return []
  if (typeof value['sval'] === 'string') return [value['sval']]
  if ('objname' in value) return namesIn(value['objname'])
  if ('names' in value) return namesIn(value['names'])
  if ('items' in value) return namesIn(value['items'])
  if ('rolename' in value) return namesIn(value['rolename'])
  if ('priv_name' in value) return namesIn(value['priv_name'])
  const schema = value['schemaname']
  if (typeof value['relname'] === 'string') {
    return typeof schema === 'string' ? [schema, value['relname']] : [value['relname']]
  }
  const node = open(value)
  return node === null ? [] : namesIn(node.fields)
}
