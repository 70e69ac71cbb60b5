import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestHouse } from './house.ts'

/** psql at a house's gateway, with all that it has said so far. */
export interface Psql {
  readonly child: ChildProcess
  said(): string
  /** All that it said, once it has ended. */
  readonly ended: Promise<string>
}

/** Starts it with the certificates of the house's client. */
export function startPsql(house: TestHouse, ...args: string[]): Psql {
  const folder = mkdtempSync(join(tmpdir(), 'psql-'))
  for (const [name, text] of [
    ['ca.pem', house.caPem],
    ['client.crt', house.client.certPem],
    ['client.key', house.client.keyPem],
  ] as const) {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
  }
  const settings = `host=localhost hostaddr=127.0.0.1 port=${house.port} user=db dbname=postgres sslmode=verify-full sslrootcert=${folder}/ca.pem sslcert=${folder}/client.crt sslkey=${folder}/client.key`
  const child = spawn('psql', ['-X', settings, ...args], {
    env: { ...process.env, PGCLIENTENCODING: 'UTF8' },
  })
  let out = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (out += chunk))
  const ended = new Promise<string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', () => {
      rmSync(folder, { recursive: true })
      resolve(out)
    })
  })
  return { child, said: () => out, ended }
}
