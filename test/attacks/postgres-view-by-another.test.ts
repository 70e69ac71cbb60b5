import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestHouse, openHouse } from '../protocols/postgres/house.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'

// A job of one account makes what leads around the mask of another, which reads it before the catalog would be a minute old.

let server: PostgresServer
let house: TestHouse

beforeAll(async () => {
  server = await startPostgres({ tls: true })
  await server.query(`
    CREATE TABLE customers (id int, email text); INSERT INTO customers VALUES (1, 'ada@example.com');
    CREATE ROLE reader LOGIN PASSWORD 'reads'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader;`)
  const allow = [{ operations: ['read', 'ddl'], resources: ['public.*'] }]
  house = await openHouse(server, {
    stages: {
      maker: { grants: [{ connection: 'db', allow, unmask: ['pii'] }] },
      reader: { grants: [{ connection: 'db', as: { user: 'reader', password: 'reads' }, allow }] },
    },
    masks: { pii: { columns: ['public.customers.email'], with: 'redact' } },
  })
}, 60_000)
afterAll(async () => {
  await house?.close()
  await server?.stop()
})

test('a view that another account has just made shows what is masked below it masked', async () => {
  const maker = await house.connect({ stage: 'maker' })
  const reader = await house.connect({ stage: 'reader' })
  expect((await reader.query('SELECT email FROM customers')).rows).toEqual([
    { email: expect.not.stringContaining('ada') },
  ])
  for (let round = 0; round < 5; round += 1) {
    await maker.query(`CREATE VIEW v${round} AS SELECT email AS plain FROM customers`)
    const { rows } = await reader.query(`SELECT plain FROM v${round}`)
    expect(rows).toEqual([{ plain: expect.not.stringContaining('ada') }])
  }
  await maker.end()
  await reader.end()
})
