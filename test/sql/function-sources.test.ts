import { expect, test } from 'vitest'
import { type FunctionSource, readSources } from '../../gateway/sql/function-sources.ts'

const columns = new Map([
  ['customers', ['public.customers.id', 'public.customers.email']],
  ['orders', ['public.orders.id']],
  ['an "odd" table', ['public.odd.x']],
  ['e\u0301tat', ['public.accented.x']],
  ['x'.repeat(63), ['public.long.x']],
])
const source = (name: string, text: string | null, more: Partial<FunctionSource> = {}): FunctionSource => ({
  schema: 'public',
  name,
  language: 'plpgsql',
  source: text,
  reads: [],
  ...more,
})
const reads = readSources(
  [
    source('direct', 'BEGIN RETURN (SELECT email FROM Customers LIMIT 1); END'),
    source('quoted', 'SELECT * FROM "customers"', { language: 'sql' }),
    source('through', 'BEGIN RETURN direct() || orders_of(1); END'),
    source('orders_of', 'SELECT id FROM orders', { language: 'sql' }),
    source('itself', 'BEGIN RETURN itself() + other_way(); END'),
    source('other_way', 'BEGIN RETURN itself(); END'),
    source('nothing', 'BEGIN RETURN now(); END'),
    source('overloaded', 'SELECT 1', { language: 'sql' }),
    source('overloaded', 'SELECT id FROM orders', { language: 'sql' }),
    source('dynamic', "BEGIN EXECUTE 'SELECT 1'; END"),
    source('calls_dynamic', 'BEGIN PERFORM dynamic(); END'),
    source('python', 'return 1', { language: 'plpython3u' }),
    source('tree', 'BEGIN ATOMIC SELECT direct(); END', { language: 'sql', reads: ['public.orders.id'] }),
    source('cast', '', { parts: [['public', 'orders_of']] }),
    source('+~+', '', { parts: [['public', 'direct']] }),
    source('by_operator', 'SELECT 1 +~+ 2', { language: 'sql' }),
    source('odd', 'SELECT * FROM "an ""odd"" table"', { language: 'sql' }),
    source('escaped', 'SELECT * FROM U&"c\\0075stomers"', { language: 'sql' }),
    source('accented', 'SELECT * FROM e\u0301tat', { language: 'sql' }),
    source('long', `SELECT * FROM ${'x'.repeat(70)}`, { language: 'sql' }),
    source('unknown', null),
    source('stats', 'SELECT most_common_vals FROM pg_stats', { language: 'sql' }),
  ],
  columns,
)

test.each([
  ['direct', ['public.customers.id', 'public.customers.email']],
  ['quoted', ['public.customers.id', 'public.customers.email']],
  ['through', ['public.customers.id', 'public.customers.email', 'public.orders.id']],
  ['itself', []],
  ['nothing', []],
  ['overloaded', ['public.orders.id']],
  ['dynamic', ['*.*.*']],
  ['calls_dynamic', ['*.*.*']],
  ['python', ['*.*.*']],
  ['tree', ['public.customers.id', 'public.customers.email', 'public.orders.id']],
  ['cast', ['public.orders.id']],
  ['by_operator', ['public.customers.id', 'public.customers.email']],
  ['odd', ['public.odd.x']],
  ['escaped', ['*.*.*']],
  ['accented', ['public.accented.x']],
  ['long', ['public.long.x']],
  ['unknown', ['*.*.*']],
  ['stats', ['*.*.*']],
  ['in_c', []],
])('%s may return values of what its source names', (name, expected) => {
  expect(reads('public', name).toSorted()).toEqual(expected.toSorted())
})
