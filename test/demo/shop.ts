import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../servers/port.ts'

/** The database of the shop: people's addresses, and a note into which somebody pasted a key. */
export const shop = `
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, total numeric NOT NULL);
CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL);
CREATE TABLE legacy_orders (id int PRIMARY KEY);
INSERT INTO customers VALUES (1, 'Ada', 'ada.lovelace@example.com'), (2, 'Grace', 'grace@example.org');
INSERT INTO orders VALUES (10, 1, 42.50), (11, 2, 7.20);
INSERT INTO notes VALUES (1, 'deploy key for staging: AKIAQ3EGRZKXW7MDPL5T'), (2, 'call Grace back');
`

/** Service accounts: what the gateway holds, and no job ever sees. */
export const accounts = `
CREATE ROLE ci_readonly LOGIN PASSWORD 'ro-4f1e77ab';
CREATE ROLE ci_deploy LOGIN PASSWORD 'rw-90c2d1aa';
CREATE ROLE ci_migrate LOGIN PASSWORD 'ddl-77e0b3c5';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO ci_readonly, ci_deploy, ci_migrate;
GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ci_readonly, ci_deploy;
GRANT ALL ON SCHEMA public TO ci_migrate;
ALTER TABLE legacy_orders OWNER TO ci_migrate;
`

/** The environment that the gateway reads its secrets from. */
export const secrets = {
  ORDERS_RO_PASSWORD: 'ro-4f1e77ab',
  ORDERS_RW_PASSWORD: 'rw-90c2d1aa',
  ORDERS_DDL_PASSWORD: 'ddl-77e0b3c5',
} as const

/** Writes a hoop.yaml for the shop into a folder; gives its path and the gateway's URL. */
export async function writeConfig(target: {
  folder: string
  issuer: string
  database: { host: string; port: number; caPem: string }
  /** Changes the text before it is written. */
  edit?: (yaml: string) => string
}): Promise<{ path: string; url: string }> {
  const { folder, issuer, database, edit = (yaml) => yaml } = target
  const port = await freePort()
  const url = `https://localhost:${port}`
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'db-ca.pem'), database.caPem)
  const path = join(folder, 'hoop.yaml')
  await writeFile(
    path,
    edit(`gateway:
  url: ${url}
  listen: 127.0.0.1:${port}
  data: ./data
  trust_domain: shop.example

issuers:
  github: { platform: github, url: "${issuer}", allow_private: true }

connections:
  orders-db:
    type: postgres
    host: ${database.host}
    port: ${database.port}
    database: shop
    ca: { file: db-ca.pem }

stages:
  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269", ref: "refs/heads/**" } }]
    grants:
      - connection: orders-db
        as: { user: ci_readonly, password: "\${ORDERS_RO_PASSWORD}" }
        allow: [{ operations: [read], resources: ["public.*"] }]
  deploy:
    subjects: [{ issuer: github, claims: { repository_id: "1296269", environment: production } }]
    max_ttl: 2h
    delegates: [migrate]
    grants:
      - connection: orders-db
        as: { user: ci_deploy, password: "\${ORDERS_RW_PASSWORD}" }
        allow: [{ operations: [read, insert, update], resources: ["public.*"] }]
        approve: [{ operations: [ddl, delete], by: dba }]
  migrate:
    grants:
      - connection: orders-db
        as: { user: ci_migrate, password: "\${ORDERS_DDL_PASSWORD}" }
        allow: [{ operations: [read], resources: ["public.*"] }]
        approve: [{ operations: [ddl], by: dba }]

masks:
  pii: { connections: [orders-db], columns: ["public.customers.email"], with: partial }

approvers:
  dba:
    members: [operator]
    gates: [{ console: {} }]
    timeout: 10m
`),
  )
  return { path, url }
}
