import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Meaning } from '../../gateway/core/operation.ts'
import { type CatalogQuery, readCatalog } from '../../gateway/sql/catalog.ts'
import type { Catalog } from '../../gateway/sql/analyzer.ts'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { Random } from '../policy/random.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'
import { Grammar, grammarSchema } from './grammar.ts'
import { session } from './shop.ts'

// PostgreSQL itself judges what we say a statement touches. A role that may do nothing is granted what the analysis
// names, column by column: the statement must then run (nothing was missed). With any one of them taken away, it must be
// refused for want of privileges (nothing was made up).

const seed = Number(process.env['HOOP_SEED'] ?? Date.now() % 1_000_000)
const most = 3000
const boundMs = 30_000

let server: PostgresServer
let client: pg.Client
let catalog: Catalog
const analyzer = createAnalyzer()

beforeAll(async () => {
  server = await startPostgres()
  const { user, password } = server.superuser
  client = new pg.Client({ host: server.host, port: server.port, user, password, database: 'postgres' })
  await client.connect()
  await client.query(`${grammarSchema}
    revoke execute on all functions in schema public, other from public;
    create role nobody_yet;
    grant usage on schema other, public to nobody_yet;`)
  const types = { getTypeParser: () => (value: string) => value }
  const query: CatalogQuery = async (text) =>
    (await client.query<(string | null)[]>({ text, rowMode: 'array', types })).rows
  catalog = await readCatalog(query, 1)
  await client.query('set search_path to public')
})
afterAll(async () => {
  await client?.end()
  await server?.stop()
  await analyzer.close()
})

/** The privileges that the operations stand for, each with the GRANTs that give it. */
function privilegesOf(meaning: Meaning): Map<string, string[]> {
  const columns = new Map<string, Set<string>>()
  const named = [
    ...meaning.probes,
    ...meaning.results.flatMap((result) => [...(result?.columns.flat() ?? []), ...(result?.rest ?? [])]),
  ]
  for (const column of named) {
    const [schema = '', name = '', last = ''] = column.split('.')
    const relation = `${schema}.${name}`
    const known = columns.get(relation) ?? new Set()
    columns.set(relation, known)
    const all = catalog.relation(schema, name)?.columns.map((each) => each.name) ?? []
    for (const each of last === '*' ? all : [last]) known.add(each)
  }
  const selected = (relation: string): string => [...(columns.get(relation) ?? [])].join(', ')
  const found = new Map<string, string[]>()
  for (const { actions, resource } of meaning.operations) {
    const [action] = actions
    // What a condition or RETURNING of a change looks at is among the columns, not among the operations.
    if (selected(resource) !== '' && actions.includes('write'))
      found.set(`look ${resource}`, [`select (${selected(resource)}) on ${resource}`])
    if (actions.includes('select')) {
      // Reading a relation of which no column is used needs the right to read any of them.
      const list = selected(resource) === '' ? anyOf(resource) : selected(resource)
      found.set(`select ${resource}`, [`select (${list}) on ${resource}`])
    }
    switch (action) {
      case 'insert':
      case 'update':
      case 'delete':
      case 'truncate':
        found.set(`${action} ${resource}`, [`${action} on ${resource}`])
        break
      case 'lock':
        found.set(`update ${resource}`, [`update on ${resource}`])
        break
      case 'nextval':
        found.set(`usage ${resource}`, [`usage on sequence ${resource}`])
        break
      case 'call':
        found.set(`call ${resource}`, [`execute on function ${resource}`])
        break
      // A MERGE that does nothing needs the right to read any column of its target.
      case 'merge':
        if (selected(resource) === '')
          found.set(`look ${resource}`, [`select (${anyOf(resource)}) on ${resource}`])
        break
      case 'select':
      case 'copy-out':
      case 'create-table':
        break
      default:
        throw new Error(`an operation nobody expected: ${actions.join('/')} ${resource}`)
    }
  }
  return found
}

function anyOf(resource: string): string {
  const [schema = '', name = ''] = resource.split('.')
  return catalog.relation(schema, name)?.columns[0]?.name ?? ''
}

/** Runs the statement with just these privileges, changes nothing, and gives the SQLSTATE it ended in, or null. */
async function outcome(statement: string, grants: readonly string[] | null): Promise<string | null> {
  const role =
    grants === null
      ? ''
      : `${grants.map((grant) => `grant ${grant} to nobody_yet; `).join('')}set local role nobody_yet;`
  try {
    await client.query(`deallocate all; begin; ${role} ${statement}; rollback`)
    return null
  } catch (error) {
    await client.query('rollback')
    if (error instanceof pg.DatabaseError) return error.code ?? 'none'
    throw error
  }
}

test(`PostgreSQL agrees with what we say statements touch (HOOP_SEED=${seed})`, {
  timeout: 180_000,
}, async () => {
  const grammar = new Grammar(new Random(seed))
  const context = session({ catalog })
  const end = Date.now() + boundMs
  const faults: string[] = []
  const invalid: Record<string, number> = {}
  let judged = 0
  for (let round = 0; round < most && Date.now() < end; round += 1) {
    const statement = grammar.statement()
    const valid = await outcome(statement, null)
    if (valid !== null) {
      invalid[valid] = (invalid[valid] ?? 0) + 1
      if (process.env['SHOW_INVALID'] !== undefined) console.log(valid, statement)
      continue
    }
    judged += 1
    const { meaning } = await analyzer.analyze(statement, context)
    // EXPLAIN shows no column, and needs the rights to all of them.
    const shown = await analyzer.analyze(statement.replace(/^explain /, ''), context)
    expect(meaning.operations).toEqual(shown.meaning.operations)
    const privileges = privilegesOf(shown.meaning)
    const all = [...privileges.values()].flat()
    const enough = await outcome(statement, all)
    if (enough !== null) faults.push(`missed (${enough}): ${statement}\n  with ${all.join('; ')}`)
    else {
      for (const [name, grants] of privileges) {
        // RETURNING counts as reading what is changed, whatever it shows; of calls PostgreSQL leaves out what has no effect.
        const [kind, resource = ''] = name.split(' ')
        const changed = ['insert', 'update', 'delete'].some((change) =>
          privileges.has(`${change} ${resource}`),
        )
        if (kind === 'look' || kind === 'call' || kind === 'usage' || (kind === 'select' && changed)) continue
        const without = await outcome(
          statement,
          all.filter((grant) => !grants.includes(grant)),
        )
        if (without !== '42501') faults.push(`made up ${name}: ${statement}`)
      }
    }
    if (faults.length >= 10) break
  }
  console.log(`seed ${seed}: ${judged} statements judged, not valid: ${JSON.stringify(invalid)}`)
  expect(faults).toEqual([])
  expect(judged).toBeGreaterThan(200)
})
