import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openStore } from '../../gateway/store/open.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hoop-store-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

describe('the embedded store', () => {
  test('keeps what was committed when it is opened again, and is readable by its owner only', async () => {
    const path = join(folder, 'state.db')
    const store = await openStore(path)
    await store.db.insertInto('meta').values({ key: 'a', value: '1' }).execute()
    for (const suffix of ['', '-wal', '-shm']) expect(statSync(path + suffix).mode & 0o777).toBe(0o600)
    await store.close()
    const again = await openStore(path)
    expect(await again.db.selectFrom('meta').selectAll().execute()).toEqual([{ key: 'a', value: '1' }])
    await again.close()
  })

  test('undoes the whole of a transaction that fails', async () => {
    const store = await openStore(':memory:')
    const failed = store.transaction(async (tx) => {
      await tx.insertInto('meta').values({ key: 'a', value: '1' }).execute()
      throw new Error('half-way')
    })
    await expect(failed).rejects.toThrow('half-way')
    expect(await store.db.selectFrom('meta').selectAll().execute()).toEqual([])
    await store.close()
  })

  test('runs transactions one after the other', async () => {
    const store = await openStore(':memory:')
    await store.db.insertInto('meta').values({ key: 'n', value: '0' }).execute()
    const add = (): Promise<void> =>
      store.transaction(async (tx) => {
        const row = await tx
          .selectFrom('meta')
          .select('value')
          .where('key', '=', 'n')
          .executeTakeFirstOrThrow()
        await new Promise((resolve) => setImmediate(resolve))
        await tx
          .updateTable('meta')
          .set({ value: String(Number(row.value) + 1) })
          .where('key', '=', 'n')
          .execute()
      })
    await Promise.all(Array.from({ length: 50 }, add))
    expect(await store.db.selectFrom('meta').select('value').execute()).toEqual([{ value: '50' }])
    await store.close()
  })

  test('enforces foreign keys and syncs every commit', async () => {
    const store = await openStore(join(folder, 'state.db'))
    await expect(
      store.db.insertInto('jobs').values({ key: 'k', identity: 'idn_none', created_at: 1 }).execute(),
    ).rejects.toThrow(/FOREIGN KEY/)
    const settings = await sql<{ synchronous: number }>`pragma synchronous`.execute(store.db)
    expect(settings.rows).toEqual([{ synchronous: 2 }])
    await store.close()
  })

  test('refuses a database of a newer version, by name', async () => {
    const path = join(folder, 'state.db')
    const store = await openStore(path)
    await store.db.insertInto('migrations').values({ version: 99, applied_at: 1 }).execute()
    await store.close()
    await expect(openStore(path)).rejects.toThrow(/version 99.*newer hoop-access/s)
  })

  test('refuses a database that others can read, and names the chmod', async () => {
    const path = join(folder, 'state.db')
    await (await openStore(path)).close()
    chmodSync(path, 0o644)
    await expect(openStore(path)).rejects.toThrow(`chmod 600 ${path}`)
  })

  test('refuses a file that is no database', async () => {
    const path = join(folder, 'state.db')
    writeFileSync(path, 'not a database at all, but long enough to look at'.repeat(40), { mode: 0o600 })
    await expect(openStore(path)).rejects.toThrow(/cannot be used/)
  })
})
