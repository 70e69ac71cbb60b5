import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Meaning } from '../../gateway/core/operation.ts'
import { readCatalog } from '../../gateway/sql/catalog.ts'
import type { Catalog } from '../../gateway/sql/analyzer.ts'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { Random, seed } from '../policy/random.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'
import { Grammar, grammarSchema } from './grammar.ts'
import { readAll, session } from './shop.ts'

// PostgreSQL itself judges what we say a statement touches. A role that may do nothing is granted what the analysis
// names, column by column: the statement must then run (nothing was missed). With any one of them taken away, it must be
// refused for want of privileges (nothing was made up).

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
  catalog = await readCatalog((sql) => readAll(client, sql), 1)
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

/** Whether it lies below a view that is changed as well. */
function isBelow(resource: string, { operations }: Meaning): boolean {
  return operations.some(({ actions, resource: view }) => {
    const [schema = '', name = ''] = view.split('.')
    const reads = catalog.relation(schema, name)?.reads ?? []
    return actions.includes('write') && reads.some((column) => column.startsWith(`${resource}.`))
  })
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
    if (!(error instanceof pg.DatabaseError)) throw error
    // Rights are looked at before the first row: what fails by its values (sequences go on counting) had them all.
    return error.code?.startsWith('22') === true || error.code?.startsWith('23') === true
      ? null
      : (error.code ?? 'none')
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
        // What lies below a view is changed with the rights of the view's owner.
        if (kind !== 'select' && isBelow(resource, shown.meaning)) continue
        const without = await outcome(
          statement,
          all.filter((grant) => !grants.includes(grant)),
        )
        // Where the key of a partitioned table is NULL every partition goes, and what is then never planned is never looked at.
        if (without === null && /\bparted\b.*\bx is null\b/s.test(statement)) continue
        if (without !== '42501') faults.push(`made up ${name}: ${statement}`)
      }
    }
    if (faults.length >= 10) break
  }
  console.log(`seed ${seed}: ${judged} statements judged, not valid: ${JSON.stringify(invalid)}`)
  expect(faults).toEqual([])
  expect(judged).toBeGreaterThan(200)
})

test(`what views read and write below them is named too (HOOP_SEED=${seed})`, {
  timeout: 180_000,
}, async () => {
  // With the rights of whoever uses them, the views need the rights to what lies below them.
  const views = ['public.simple', 'public.joined', 'other.nested', 'public.over']
  for (const view of views) await client.query(`alter view ${view} set (security_invoker = true)`)
  const grammar = new Grammar(new Random(seed + 1))
  const end = Date.now() + boundMs / 3
  const faults: string[] = []
  let judged = 0
  for (let round = 0; round < most && Date.now() < end && faults.length < 10; round += 1) {
    const statement = grammar.statement()
    if (!/simple|joined|nested|over/.test(statement) || (await outcome(statement, null)) !== null) continue
    judged += 1
    const { meaning } = await analyzer.analyze(statement.replace(/^explain /, ''), session({ catalog }))
    const all = [
      ...[...privilegesOf(meaning).values()].flat(),
      ...meaning.relations.filter((name) => !name.startsWith('pg_temp')).map((name) => `select on ${name}`),
    ]
    const enough = await outcome(statement, all)
    if (enough !== null) faults.push(`missed (${enough}): ${statement}\n  with ${all.join('; ')}`)
  }
  console.log(`seed ${seed}: ${judged} statements over views judged`)
  expect(faults).toEqual([])
  expect(judged).toBeGreaterThan(100)
})
