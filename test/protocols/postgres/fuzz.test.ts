import { type Server, type Socket, connect, createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Refused } from '../../../gateway/core/errors.ts'
import {
  readBind,
  readExecute,
  readFields,
  readParse,
  readQuery,
  readRowDescription,
  readTarget,
} from '../../../gateway/protocols/postgres/messages.ts'
import { FrameReader } from '../../../gateway/protocols/postgres/frames.ts'
import { readFunctionCall } from '../../../gateway/protocols/postgres/function-call.ts'
import { readStartUp } from '../../../gateway/protocols/postgres/startup.ts'
import { Random, seed } from '../../policy/random.ts'
import { type PostgresServer, startPostgres } from '../../servers/postgres.ts'
import { type TestHouse, openHouse } from './house.ts'
import {
  bind,
  close,
  copyData,
  copyDone,
  copyFail,
  describe as describing,
  execute,
  flush,
  parse,
  query,
  sync,
  terminate,
} from './messages.ts'
import { cut, fuzzMs, mutateBytes, randomBytes, randomMessage } from './mutation.ts'

// Messages that nobody would send: by clients, and by a database that lies. Whatever comes, the gateway refuses it in its
// own words and goes on, nothing that was refused goes through, and nothing that is masked comes out.

const random = new Random(seed)
const untilDone = (): (() => boolean) => {
  const end = Date.now() + fuzzMs
  return () => Date.now() < end
}

describe(`bytes without meaning (HOOP_SEED=${seed})`, () => {
  const readers = [
    readBind,
    readExecute,
    readFields,
    readFunctionCall,
    readParse,
    readQuery,
    readRowDescription,
    readTarget,
  ]
  const good = [
    parse('s', 'SELECT $1'),
    bind('p', 's', ['a', 'b'], 1),
    describing('S', 's'),
    execute('p', 3),
    query('SELECT 1'),
    close('P', 'p'),
  ]

  test('are read, or refused', { timeout: 20_000 + fuzzMs * 3 }, () => {
    const going = untilDone()
    let refused = 0
    for (let round = 0; going() || round < 2000; round += 1) {
      const bytes = random.chance(3)
        ? randomBytes(random, 5 + random.below(60))
        : mutateBytes(random, random.pick(good))
      for (const read of readers) {
        try {
          read(bytes, 0, bytes.length)
        } catch (error) {
          expect(error).toBeInstanceOf(Refused)
          refused += 1
        }
      }
      try {
        readStartUp(bytes.length < 4 ? Buffer.alloc(4) : bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(Refused)
      }
    }
    expect(refused).toBeGreaterThan(100)
  })

  test('are cut into the same messages wherever they are split', { timeout: 20_000 + fuzzMs * 3 }, () => {
    const going = untilDone()
    const read = (pieces: readonly Buffer[]): string[] => {
      const frames = new FrameReader(() => 5000, 0x64)
      const found: string[] = []
      try {
        for (const piece of pieces) {
          frames.push(piece)
          for (let kind = frames.next(); kind !== null; kind = frames.next()) {
            if (kind === 'oversize') found.push(`oversize ${frames.type}`)
            else if (kind === 'whole') found.push(frames.source.toString('hex', frames.start, frames.end))
            else if (frames.first) found.push(frames.source.toString('hex', frames.start, frames.end))
            else found[found.length - 1] += frames.source.toString('hex', frames.start, frames.end)
          }
        }
      } catch (error) {
        expect(error).toBeInstanceOf(Refused)
        found.push('refused')
      }
      return found
    }
    for (let round = 0; going() || round < 1000; round += 1) {
      const all = Buffer.concat(Array.from({ length: 1 + random.below(6) }, () => random.pick(good)))
      const bytes = random.chance(4) ? all : mutateBytes(random, all)
      expect(read(cut(random, bytes))).toEqual(read([bytes]))
    }
  })
})

const secret = /lovelace|hopper/
const policy = {
  stages: {
    job: {
      grants: [
        {
          connection: 'db',
          allow: [{ operations: ['read', 'insert'], resources: ['public.*'] }],
          deny: [{ operations: ['*'], resources: ['public.vault'] }],
        },
      ],
    },
  },
  masks: { pii: { columns: ['public.customers.email'], with: 'redact' } },
}
const tables = `
  CREATE TABLE customers (id int, name text, email text);
  INSERT INTO customers VALUES (1, 'Ada', 'ada.lovelace@example.com'), (2, 'Grace', 'grace.hopper@example.org');
  CREATE TABLE vault (key text); INSERT INTO vault VALUES ('VAULT-7');
  CREATE TABLE log (at int, what text);`

/** Ends a round: whatever is left of the connection is closed, and a fresh one works. */
async function stillServes(house: TestHouse): Promise<void> {
  const client = await house.connect({ stage: 'job' })
  expect((await client.query('SELECT name, email FROM customers WHERE id = 1')).rows).toEqual([
    { name: 'Ada', email: '[masked]' },
  ])
  await client.end()
}

/** No session ended by a fault of the gateway's own. */
function expectNoFaults(house: TestHouse): void {
  const ends = house.events.flatMap((event) => (event.kind === 'end' ? [event.why] : []))
  expect(ends.filter((why) => why.startsWith('internal'))).toEqual([])
  expect(house.released().toString('latin1')).not.toMatch(secret)
  expect(house.released().toString('latin1')).not.toContain('VAULT-7')
}

describe(`a client that sends anything (HOOP_SEED=${seed})`, () => {
  let server: PostgresServer
  let house: TestHouse
  beforeAll(async () => {
    server = await startPostgres({ tls: true })
    await server.query(tables)
    house = await openHouse(server, policy)
  }, 60_000)
  afterAll(async () => {
    await house?.close()
    await server?.stop()
  })

  const names = ['', 's', 't', 'x'.repeat(70)]
  const texts = [
    'SELECT 1',
    'SELECT email FROM customers',
    'SELECT c FROM customers c',
    "INSERT INTO log VALUES (1, 'a')",
    'SELECT key FROM vault /* denied_marker */',
    'DELETE FROM customers /* denied_marker */',
    "SELECT set_config('search_path', 'pg_temp', false)",
    'BEGIN',
    'COMMIT',
    'ROLLBACK',
    'SELEC',
    'SELECT 1/0',
    'COPY log FROM STDIN',
    'COPY customers TO STDOUT',
    'PREPARE s AS SELECT email FROM customers',
    'EXECUTE s',
    'DEALLOCATE ALL',
    'DECLARE t CURSOR WITH HOLD FOR SELECT email FROM customers',
    'FETCH ALL FROM t',
    'SELECT $1::text || email FROM customers WHERE id = $2::int',
    '',
    ';',
  ]
  const name = (): string => random.pick(names)
  const makers: readonly (() => Buffer)[] = [
    () => query(random.pick(texts)),
    () => parse(name(), random.pick(texts)),
    () => parse(name(), random.pick(texts)),
    () => bind(name(), name(), random.chance(3) ? ['a', '1'] : [], random.below(2)),
    () => bind(name(), name()),
    () => describing(random.pick(['S', 'P'] as const), name()),
    () => execute(name(), random.below(3)),
    () => execute(name()),
    () => close(random.pick(['S', 'P'] as const), name()),
    () => sync,
    () => sync,
    () => flush,
    () => copyData('1\ta\n'),
    () => copyDone,
    () => copyFail,
    () => randomMessage(random),
    () => mutateBytes(random, parse(name(), random.pick(texts))),
  ]

  test('gets nothing that is denied or masked, and harms nobody', {
    timeout: 60_000 + fuzzMs * 3,
  }, async () => {
    const going = untilDone()
    let sessions = 0
    for (; going() || sessions < 20; sessions += 1) {
      const raw = await house.raw()
      const over = raw.closed()
      const frames = Array.from({ length: 1 + random.below(25) }, () => random.pick(makers)())
      for (const piece of cut(random, Buffer.concat(frames))) {
        if (raw.socket.destroyed) break
        raw.write(piece)
        if (random.chance(5)) await new Promise((resolve) => setImmediate(resolve))
      }
      if (random.chance(2)) await new Promise((resolve) => setTimeout(resolve, 30))
      // Whatever it was, a client that leaves is let go of.
      if (!raw.socket.destroyed) raw.socket.end(Buffer.concat([copyFail, sync, terminate]))
      await over
      raw.socket.destroy()
    }
    console.log(`seed ${seed}: ${sessions} sessions`)
    await stillServes(house)
    expectNoFaults(house)
    expect(server.log()).not.toContain('denied_marker')
  })
})

describe(`a database that answers anything (HOOP_SEED=${seed})`, () => {
  let server: PostgresServer
  let liar: Server
  let house: TestHouse
  /** What becomes of answers on their way; null for nothing. */
  let lie: ((batch: readonly Buffer[]) => readonly Buffer[]) | null = null
  beforeAll(async () => {
    server = await startPostgres()
    await server.query(tables)
    liar = createServer((socket) => relay(socket, server.port))
    await new Promise<void>((resolve) => liar.listen(0, '127.0.0.1', resolve))
    const address = liar.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    house = await openHouse({ ...server, port }, policy)
    await stillServes(house)
  }, 60_000)
  afterAll(async () => {
    await house?.close()
    liar?.close()
    await server?.stop()
  })

  /** Carries a connection to the real database, and its answers back as they are or as no database would give them. */
  function relay(client: Socket, port: number): void {
    const upstream = connect(port, '127.0.0.1')
    const frames = new FrameReader(() => 1 << 24)
    let readies = 0
    client.on('data', (chunk: Buffer) => upstream.write(chunk))
    upstream.on('data', (chunk: Buffer) => {
      frames.push(chunk)
      const batch: Buffer[] = []
      for (let found = frames.next(); found !== null; found = frames.next()) {
        batch.push(Buffer.from(frames.source.subarray(frames.start, frames.end)))
        if (frames.type === 0x5a) readies += 1
      }
      const bytes = Buffer.concat(lie !== null && readies > 1 ? lie(batch) : batch)
      for (const piece of cut(random, bytes)) client.write(piece)
    })
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
  }

  /** Leaves out, repeats, changes and puts in messages; a value stays in a row (what else it says, any database may). */
  function distort(batch: readonly Buffer[]): Buffer[] {
    const out = [...batch]
    for (let left = 1 + random.below(2); left > 0; left -= 1) {
      const at = random.below(out.length)
      const [held = Buffer.alloc(0)] = out.slice(at)
      switch (random.below(6)) {
        case 0:
          out.splice(at, 1)
          break
        case 1:
          out.splice(at, 0, held)
          break
        case 2:
          out.splice(random.below(out.length), 0, ...out.splice(at, 1))
          break
        case 3: {
          // Everything but the type.
          const changed = mutateBytes(random, held.subarray(1))
          out[at] = Buffer.concat([held.subarray(0, 1), changed])
          break
        }
        case 4: {
          const changed = Buffer.from(mutateBytes(random, held.subarray(5)))
          const header = Buffer.from([held[0] ?? 0, 0, 0, 0, 0])
          header.writeUInt32BE(changed.length + 4, 1)
          out[at] = Buffer.concat([header, changed])
          break
        }
        default: {
          const type = random.pick('123CDdGHIKNnRSsTtVWZAEc'.split(''))
          const body = randomBytes(random, random.below(20))
          const header = Buffer.from([type.charCodeAt(0), 0, 0, 0, body.length + 4])
          out.splice(at, 0, Buffer.concat([header, body]))
        }
      }
    }
    return out
  }

  test.each([
    // Each threw within pg on the connection that reads the catalog, where nobody could catch it.
    ['a CopyInResponse without its end', Buffer.from([0x47, 0, 0, 0, 5, 0])],
    ['a CopyInResponse of 65,535 columns', Buffer.from([0x47, 0, 0, 0, 7, 0, 0xff, 0xff])],
    ['a RowDescription without its end', Buffer.from([0x54, 0, 0, 0, 6, 0, 9])],
    ['a DataRow without its end', Buffer.from([0x44, 0, 0, 0, 6, 0, 9])],
    ['an Authentication of no kind', Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 99])],
  ])('ends its own sessions alone: %s', async (_, bytes) => {
    const raw = await house.raw()
    lie = () => [bytes]
    // A COPY has the catalog read again that is older than a second.
    await new Promise((resolve) => setTimeout(resolve, 1100))
    raw.write(query('COPY customers (email) TO STDOUT'))
    await Promise.race([raw.closed(), new Promise((resolve) => setTimeout(resolve, 300))])
    raw.socket.destroy()
    lie = null
    await stillServes(house)
    expectNoFaults(house)
  })

  test('is not believed, and shows nothing that is masked', { timeout: 60_000 + fuzzMs * 3 }, async () => {
    const asked: readonly Buffer[] = [
      query('SELECT email FROM customers'),
      query('SELECT email, email FROM customers'),
      query('COPY customers (email) TO STDOUT'),
      query('SELECT c FROM customers c'),
      Buffer.concat([
        parse('', 'SELECT email FROM customers'),
        bind('', '', [], 1),
        describing('P', ''),
        execute(''),
        sync,
      ]),
      Buffer.concat([
        parse('', 'SELECT email FROM customers'),
        bind('', ''),
        execute('', 1),
        execute('', 1),
        sync,
      ]),
    ]
    const going = untilDone()
    let sessions = 0
    let broken = 0
    for (; going() || sessions < 20; sessions += 1) {
      lie = null
      const raw = await house.raw()
      lie = distort
      raw.write(random.pick(asked))
      const answered = raw.until('Z').then(
        () => 'answered',
        () => 'closed',
      )
      const outcome = await Promise.race([
        answered,
        new Promise<string>((resolve) => setTimeout(resolve, 50, 'waits')),
      ])
      if (outcome === 'closed') broken += 1
      raw.socket.destroy()
    }
    lie = null
    console.log(`seed ${seed}: ${sessions} sessions, ${broken} ended by the gateway`)
    await stillServes(house)
    expectNoFaults(house)
  })
})
