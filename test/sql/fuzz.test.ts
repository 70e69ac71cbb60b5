import { readFile } from 'node:fs/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Refused } from '../../gateway/core/errors.ts'
import type { Analysis } from '../../gateway/sql/analyzer.ts'
import { readCatalog } from '../../gateway/sql/catalog.ts'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { Random, seed } from '../policy/random.ts'
import { fuzzMs } from '../protocols/postgres/mutation.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'
import { Grammar, grammarSchema } from './grammar.ts'
import { mutateText } from './mutation.ts'
import { readAll, session } from './shop.ts'

// Statements that are wrong in every way: words missing, doubled, out of place. The analysis refuses them in its own words
// or reads them, and what it says of those that PostgreSQL takes is never less than what PostgreSQL does.

const files = [
  'attacks/sql-evasions.test.ts',
  'attacks/postgres-denied-in-disguise.test.ts',
  'attacks/postgres-masked-values.test.ts',
  'attacks/postgres-published-bypasses.test.ts',
  'sql/operations.test.ts',
  'sql/origins.test.ts',
]

const analyzer = createAnalyzer()
afterAll(() => analyzer.close())

/** Every string of the attacks that begins like a statement: so this grows with them. */
async function corpus(): Promise<string[]> {
  const texts = await Promise.all(
    files.map((file) => readFile(new URL(`../${file}`, import.meta.url), 'utf8')),
  )
  return texts.flatMap((text) =>
    [...text.matchAll(/'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"/g)]
      .map((match) => (match[1] ?? match[2] ?? '').replace(/\\(.)/g, '$1'))
      .filter((found) => /^\W*[A-Za-z]{3,} [\s\S]/.test(found)),
  )
}

const answers: ReadonlySet<string> = new Set([
  'unparseable',
  'too_large',
  'timed_out',
  'unknown_statement',
  'unknown_cursor',
])

async function outcome(text: string, more: Parameters<typeof session>[0] = {}): Promise<Analysis | Refused> {
  try {
    return await analyzer.analyze(text, session({ caller: {}, ...more }))
  } catch (error) {
    if (error instanceof Refused && answers.has(error.code)) return error
    throw new Error(`not a refusal of its own: ${text}`, { cause: error })
  }
}

describe(`statements with something wrong (HOOP_SEED=${seed})`, () => {
  test('are read or refused, twice alike, and the next is read', {
    timeout: 60_000 + fuzzMs * 3,
  }, async () => {
    const random = new Random(seed)
    const texts = await corpus()
    expect(texts.length).toBeGreaterThan(500)
    const end = Date.now() + fuzzMs
    let read = 0
    let rounds = 0
    for (; Date.now() < end || rounds < 200; rounds += 1) {
      const text = mutateText(random, random.pick(texts), texts)
      const found = await outcome(text)
      if (found instanceof Refused) continue
      read += 1
      // Spans lie within the text, in order, each from a character to another.
      for (const { start, end: to } of found.meaning.spans) {
        expect(start).toBeGreaterThanOrEqual(0)
        expect(to).toBeGreaterThan(start)
        expect(to).toBeLessThanOrEqual(text.length)
      }
      const again = await outcome(text, { user: String(rounds) })
      expect(again).toEqual({ ...found, meaning: { ...found.meaning } })
      if (rounds % 50 === 0)
        expect((await outcome('DELETE FROM secrets.keys')) instanceof Refused).toBe(false)
    }
    console.log(`seed ${seed}: ${rounds} texts, ${read} read`)
  })
})

describe(`what PostgreSQL takes of them (HOOP_SEED=${seed})`, () => {
  let server: PostgresServer
  let client: pg.Client
  beforeAll(async () => {
    server = await startPostgres()
    const { user, password } = server.superuser
    client = new pg.Client({ host: server.host, port: server.port, user, password, database: 'postgres' })
    await client.connect()
    await client.query(`${grammarSchema}
      revoke execute on all functions in schema public, other from public;
      create role reader; grant usage on schema other, public to reader;`)
  }, 60_000)
  afterAll(async () => {
    await client?.end()
    await server?.stop()
  })

  /** The SQLSTATE that the text ends in, run by somebody who may read just this, and write nothing; null for success. */
  async function stateOf(text: string, reads: readonly string[] | null): Promise<string | null> {
    const role =
      reads === null
        ? ''
        : `${reads.map((relation) => `grant select on ${relation} to reader;`).join(' ')} set local role reader; set local transaction_read_only = on;`
    try {
      await client.query(`deallocate all; begin; set local statement_timeout = '2s'; ${role}`)
      await client.query(text)
      return null
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) throw error
      return error.code ?? ''
    } finally {
      await client.query('rollback')
    }
  }

  test('is never more than what was said of it', { timeout: 120_000 + fuzzMs * 4 }, async () => {
    const random = new Random(seed)
    const catalog = await readCatalog((sql) => readAll(client, sql), 1)
    await client.query('set search_path to public')
    const grammar = new Grammar(new Random(seed + 7))
    const others = Array.from({ length: 50 }, () => grammar.statement())
    const end = Date.now() + fuzzMs * 2
    let judged = 0
    let rounds = 0
    for (; Date.now() < end || rounds < 200; rounds += 1) {
      const text = mutateText(random, grammar.statement(), others)
      if (/copy|\bset\b|reset|discard|commit|rollback|end\b|abort|vacuum/i.test(text)) continue
      const found = await outcome(text, { catalog })
      if (found instanceof Refused) continue
      const { operations } = found.meaning
      // What we say changes nothing, and calls nothing: then the right to read what we name is all it may need.
      if (!operations.every(({ reads, actions }) => reads && actions.includes('select'))) continue
      if ((await stateOf(text, null)) !== null) continue
      judged += 1
      const state = await stateOf(text, [...new Set(operations.map(({ resource }) => resource))])
      if (state === '25006' || state === '42501') expect(`missed (${state}): ${text}`).toBe('')
    }
    console.log(`seed ${seed}: ${rounds} texts, ${judged} judged by PostgreSQL`)
    expect(judged).toBeGreaterThan(20)
  })
})
