import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { expect, test } from 'vitest'
import { definitionTags } from '../../gateway/sql/definitions.ts'
import { knownTags } from '../../gateway/sql/parse-tree.ts'

const types = await readFile(
  createRequire(import.meta.url)
    .resolve('@pgsql/types')
    .replace(/index\.js$/, 'types.d.ts'),
  'utf8',
)
const tags = [...types.slice(0, types.indexOf('export interface')).matchAll(/^ {4}(\w+): \1;/gm)].map(
  (match) => match[1] ?? '',
)

/** Made by PostgreSQL after its grammar: a raw parse tree cannot hold them, and one that does is refused. */
const notGrammar = new Set([
  'SetOperationStmt',
  'PLAssignStmt',
  'ReplicaIdentityStmt',
  'RawStmt',
  'ReturnStmt',
])

/** Statements with a reader of their own in statements.ts. */
const own = new Set(
  `SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt CopyStmt TransactionStmt VariableSetStmt VariableShowStmt ExplainStmt
  PrepareStmt ExecuteStmt DeclareCursorStmt FetchStmt ClosePortalStmt DeallocateStmt DiscardStmt ListenStmt NotifyStmt
  UnlistenStmt ConstraintsSetStmt LockStmt CallStmt DoStmt ViewStmt CreateTableAsStmt`.split(/\s+/),
)

test('every kind of statement of the grammar is read', () => {
  const statements = tags.filter((tag) => tag.endsWith('Stmt'))
  expect(statements.length).toBeGreaterThan(110)
  expect(
    statements.filter((tag) => !own.has(tag) && !definitionTags.has(tag) && !notGrammar.has(tag)),
  ).toEqual([])
})

test('what the parser cannot produce is not known, and so refused', () => {
  for (const tag of ['Query', 'Var', 'OpExpr', 'SubPlan', 'RangeTblEntry', 'PLAssignStmt'])
    expect(knownTags.has(tag)).toBe(false)
  expect([...knownTags].filter((tag) => !tags.includes(tag))).toEqual([])
})
