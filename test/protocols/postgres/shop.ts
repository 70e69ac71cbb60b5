import { type PostgresServer, startPostgres } from '../../servers/postgres.ts'
import { type TestHouse, openHouse } from './house.ts'

/** A database with customers, orders and secrets, and a gateway before it whose stage may not see or do all. */
export async function openShop(): Promise<{
  server: PostgresServer
  house: TestHouse
  close(): Promise<void>
}> {
  const server = await startPostgres({ tls: true })
  await server.query(`
    CREATE TABLE customers (id int PRIMARY KEY, name text, email text, age int);
    INSERT INTO customers VALUES (1, 'Ada', 'ada@example.com', 36), (2, 'Bob', 'bob@example.org', 41);
    CREATE UNIQUE INDEX customers_email ON customers (email);
    CREATE TABLE members (email text CONSTRAINT members_email UNIQUE DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO members VALUES ('ada@example.com');
    CREATE TABLE orders (id serial PRIMARY KEY, note text);
    CREATE TABLE secrets (value text);
    INSERT INTO secrets VALUES ('hidden');
  `)
  const house = await openHouse(server, {
    stages: {
      deploy: {
        grants: [
          {
            connection: 'db',
            allow: [
              { operations: ['read', 'insert', 'update'], resources: ['public.*', 'pg_catalog.*'] },
              { operations: ['copy-in', 'copy-out', 'call', 'select'] },
            ],
            approve: [
              { operations: ['ddl', 'delete'], by: 'dba' },
              { operations: ['set'], resources: ['log_min_messages'], by: 'dba' },
            ],
            deny: [{ operations: ['*'], resources: ['public.secrets'] }],
          },
        ],
      },
    },
    masks: {
      pii: {
        columns: ['public.customers.email', 'public.customers.age', 'public.members.email'],
        with: 'partial',
      },
    },
  })
  return {
    server,
    house,
    async close() {
      await house.close()
      await server.stop()
    },
  }
}
