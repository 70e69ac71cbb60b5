import { afterAll, beforeAll, expect, test } from 'vitest'
import { type PostgresServer, startPostgres } from './postgres.ts'

let server: PostgresServer

beforeAll(async () => {
  server = await startPostgres({ tls: true })
}, 60_000)
afterAll(() => server.stop())

test('a real PostgreSQL answers over verified TLS and logs every statement', async () => {
  const rows = await server.query('SELECT version(), current_setting($$ssl$$) AS ssl')
  expect(rows[0]).toMatchObject({ ssl: 'on', version: expect.stringContaining('PostgreSQL 18') })
  expect(server.log()).toContain('current_setting($$ssl$$)')
})

test('a wrong password is refused', async () => {
  await expect(server.query('SELECT 1', { password: 'wrong' })).rejects.toThrow(
    'password authentication failed',
  )
})
