import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readHome } from '../../client/home.ts'
import { rewriteConnectionString } from '../../client/rewrite.ts'
import { filesOf } from '../../client/settings.ts'
import { lacks, told } from '../servers/programs.ts'
import { type Job, type Ran, type Stack, run, startStack } from './stack.ts'

const driver = '/usr/share/java/postgresql.jar'

const program = `import java.sql.*;
public class Ask {
  public static void main(String[] args) throws Exception {
    try (Connection c = DriverManager.getConnection(args[0]); ResultSet r = c.createStatement().executeQuery(args[1])) {
      while (r.next()) System.out.println(r.getString(1));
    }
  }
}
`

/** What frameworks do: metadata, statements that the driver prepares on the server after five uses, cursors, savepoints. */
const framework = `import java.sql.*;
public class Framework {
  public static void main(String[] args) throws Exception {
    try (Connection c = DriverManager.getConnection(args[0])) {
      DatabaseMetaData m = c.getMetaData();
      try (ResultSet r = m.getColumns(null, "public", "orders", null)) { while (r.next()) System.out.println(r.getString("COLUMN_NAME")); }
      try (ResultSet r = m.getPrimaryKeys(null, "public", "orders")) { while (r.next()) System.out.println("key " + r.getString("COLUMN_NAME")); }
      try (ResultSet r = m.getIndexInfo(null, "public", "orders", false, true)) { while (r.next()) System.out.println("index " + r.getString("COLUMN_NAME")); }
      c.setAutoCommit(false);
      try (PreparedStatement s = c.prepareStatement("SELECT count(*) FROM orders WHERE id >= ?")) {
        for (int i = 0; i < 10; i++) { s.setInt(1, 0); try (ResultSet r = s.executeQuery()) { r.next(); if (i == 9) System.out.println("count " + r.getInt(1)); } }
      }
      try (PreparedStatement s = c.prepareStatement("SELECT n FROM generate_series(1, 25) n")) {
        s.setFetchSize(10);
        int rows = 0;
        try (ResultSet r = s.executeQuery()) { while (r.next()) rows++; }
        System.out.println("rows " + rows);
      }
      Savepoint p = c.setSavepoint();
      try (Statement s = c.createStatement()) { s.executeUpdate("DELETE FROM orders"); } catch (SQLException e) { System.out.println(e.getSQLState()); }
      c.rollback(p);
      try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT 40 + 2")) { r.next(); System.out.println(r.getInt(1)); }
      c.commit();
    }
  }
}
`

const missing = told(existsSync(driver) ? null : `not installed: libpostgresql-jdbc-java (${driver})`)
describe.skipIf(lacks('java', 'javac') || missing)('pgjdbc', () => {
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

  test('metadata, prepared statements, cursors, and a savepoint around what is refused', async () => {
    await writeFile(join(stack.folder, 'Framework.java'), framework)
    const tls = `&sslmode=verify-full&sslrootcert=${join(job.home, 'ca.pem')}&sslkey=${join(job.home, 'client.p12')}`
    const source = join(stack.folder, 'Framework.java')
    const ran = await run('java', ['-cp', driver, source, `${base()}${tls}&sslpassword=changeit`], {})
    expect(ran).toMatchObject({ err: '', code: 0 })
    expect(ran.out).toMatch(/^id\n[\s\S]*key id\n[\s\S]*count 2\nrows 25\n42501\n42\n$/)
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
