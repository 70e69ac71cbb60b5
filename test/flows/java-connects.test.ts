import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readHome } from '../../client/home.ts'
import { rewriteConnectionString } from '../../client/rewrite.ts'
import { filesOf } from '../../client/settings.ts'
import { type Job, type Ran, type Stack, run, startStack } from './stack.ts'

const driver = '/usr/share/java/postgresql.jar'
const missing = !existsSync(driver) || spawnSync('javac', ['-version']).status !== 0

const program = `import java.sql.*;
public class Ask {
  public static void main(String[] args) throws Exception {
    try (Connection c = DriverManager.getConnection(args[0]); ResultSet r = c.createStatement().executeQuery(args[1])) {
      while (r.next()) System.out.println(r.getString(1));
    }
  }
}
`

describe.skipIf(missing)('pgjdbc (needs a JDK and Debian’s libpostgresql-jdbc-java)', () => {
  let stack: Stack
  let job: Job
  beforeAll(async () => {
    stack = await startStack()
    job = await stack.open('test')
    await writeFile(join(stack.folder, 'Ask.java'), program)
  })
  afterAll(() => stack.close())

  const ask = (url: string, statement: string): Promise<Ran> =>
    run('java', ['-cp', driver, join(stack.folder, 'Ask.java'), url, statement], {})
  const base = (): string => `jdbc:postgresql://localhost:${stack.port}/shop?user=orders-db`

  test('connects with client.p12, and sees what is masked masked', async () => {
    const { home } = job
    const tls = `&sslmode=verify-full&sslrootcert=${join(home, 'ca.pem')}&sslkey=${join(home, 'client.p12')}`
    const { out, err, code } = await ask(
      `${base()}${tls}&sslpassword=changeit`,
      'SELECT email FROM customers ORDER BY id',
    )
    expect(err).toBe('')
    expect(out).toMatch(/^a\S*@\S+\n/)
    expect(out).not.toContain('ada.lovelace')
    expect(code).toBe(0)
  })

  test('connects with the string that a named variable gets', async () => {
    const [connection] = (await readHome(job.home)).card.identity.connections
    if (connection === undefined) throw new Error('no connection')
    const url = rewriteConnectionString('jdbc:postgresql://db/shop', connection, filesOf(job.home))
    expect(await ask(url, 'SELECT count(*) FROM orders')).toMatchObject({ out: '2\n', code: 0 })
  })

  test('without the key it is nobody', async () => {
    const url = `${base()}&sslmode=verify-full&sslrootcert=${join(job.home, 'ca.pem')}&sslcert=&sslkey=`
    const { code, err } = await ask(url, 'SELECT 1')
    expect(code).not.toBe(0)
    expect(err).toMatch(/certificate|password/i)
  })
})
