import {
  appendFileSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { generateKeyPairSync, sign } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Chain } from '../../gateway/recording/chain.ts'
import { findRecording, keyFinder } from '../../gateway/recording/files.ts'
import { type ChainPart, readChain } from '../../gateway/recording/read-chain.ts'
import { verify } from '../../gateway/recording/verify.ts'
import { end, makeFolder, open, publicJwk, recordSession, request, startOf } from '../recording/folder.ts'

// Somebody who can write the gateway's files tries to change what happened without its key.

let dir: string
let remove: () => void
let path: string
let relative: string
let original: Buffer

beforeAll(async () => {
  ;({ dir, remove } = makeFolder())
  const recordings = await open(dir)
  recordings.note({ kind: 'gateway-start', version: '1', policy: 'p1' })
  await recordSession(recordings, 'ses_a')
  await recordSession(recordings, 'ses_b', 4)
  await recordings.close('done')
  path = (await findRecording(dir, 'ses_a')) ?? ''
  relative = path.slice(dir.length + 1)
  original = readFileSync(path)
})
afterAll(() => remove())

const check = (at: string) => verify(at, { publicKey: publicJwk })

/** Verifies a copy of the folder after a change to it. */
async function afterChange(change: (copy: string) => void | Promise<void>) {
  const copy = `${dir}-copy`
  cpSync(dir, copy, { recursive: true })
  try {
    await change(copy)
    return await check(copy)
  } finally {
    rmSync(copy, { recursive: true })
  }
}

test('untouched, all is well', async () => {
  expect(await check(dir)).toMatchObject({ ok: true, recordings: 2, faults: [] })
  expect(await check(path)).toMatchObject({ ok: true, recordings: 1 })
  expect(await check(join(dir, 'ledger.jsonl'))).toMatchObject({ ok: true })
})

test('every single byte of a recording counts, and the line that changed is named', async () => {
  const copy = join(dir, '..', 'one.jsonl')
  const starts = [0]
  original.forEach((byte, index) => byte === 10 && index + 1 < original.length && starts.push(index + 1))
  for (let at = 0; at < original.length; at++) {
    const bytes = Buffer.from(original)
    bytes[at] = (bytes[at] ?? 0) ^ (at % 2 === 0 ? 1 : 0x20)
    writeFileSync(copy, bytes)
    const { ok, faults } = await check(copy)
    const found = faults[0]
    if (ok || found === undefined || found.offset > at)
      throw new Error(`a change of byte ${at} was not found: ${JSON.stringify(faults)}`)
    // Blocks of two records and a seal: the fault names the block's first record at the latest.
    const line = starts.findLastIndex((start) => start <= at) + 1
    expect(line - found.line, `byte ${at}`).toBeLessThanOrEqual(2)
  }
  rmSync(copy)
})

test('every single byte of the ledger counts', async () => {
  const ledger = readFileSync(join(dir, 'ledger.jsonl'))
  const copy = join(dir, '..', 'ledger.jsonl')
  for (let at = 0; at < ledger.length; at++) {
    const bytes = Buffer.from(ledger)
    bytes[at] = (bytes[at] ?? 0) ^ 1
    writeFileSync(copy, bytes)
    const { ok } = await check(copy)
    if (ok) throw new Error(`a change of byte ${at} of the ledger was not found`)
  }
  rmSync(copy)
})

test('cut anywhere, a recording is not whole', async () => {
  const copy = join(dir, '..', 'one.jsonl')
  for (let length = 0; length < original.length; length++) {
    writeFileSync(copy, original.subarray(0, length))
    const { ok } = await check(copy)
    if (ok) throw new Error(`a cut at byte ${length} was not found`)
  }
  rmSync(copy)
})

describe('lines', () => {
  const lines = (): string[] => original.toString().split(/(?<=\n)/)
  const each = async (change: (all: string[], at: number) => string[]): Promise<void> => {
    const copy = join(dir, '..', 'one.jsonl')
    for (let at = 0; at < lines().length; at++) {
      const changed = change(lines(), at).join('')
      if (changed === original.toString()) continue
      writeFileSync(copy, changed)
      const { ok } = await check(copy)
      if (ok) throw new Error(`the change at line ${at + 1} was not found`)
    }
    rmSync(copy)
  }

  test('cannot be taken out', () => each((all, at) => all.toSpliced(at, 1)))
  test('cannot be doubled', () => each((all, at) => all.toSpliced(at, 0, all[at] ?? '')))
  test('cannot change places', () =>
    each((all, at) => all.toSpliced(at, 2, all[at + 1] ?? '', all[at] ?? '')))
  test('cannot be put at the end again', () => each((all, at) => [...all, all[at] ?? '']))
  test('cannot be empty or blank', () =>
    each((all, at) => all.toSpliced(at, 0, at % 2 === 0 ? '\n' : '  \n')))
  test('cannot be followed by others', () =>
    each((all, at) => all.toSpliced(at + 1, 0, '{"seq":1,"at":1,"kind":"answer","data":""}\n')))
  test('cannot be written another way', () =>
    each((all, at) =>
      all.toSpliced(at, 1, `${JSON.stringify(JSON.parse(all[at] ?? '')).replace(':', ': ')}\n`),
    ))
  test('cannot go as a block', async () => {
    const blocks = original.toString().split(/(?<="records":\d+}\n)/)
    for (let at = 0; at < blocks.length; at++) {
      for (const changed of [
        blocks.toSpliced(at, 1),
        blocks.toSpliced(at, 0, blocks[at] ?? ''),
        blocks.toSpliced(at, 2, blocks[at + 1] ?? '', blocks[at] ?? ''),
      ]) {
        if (changed.join('') === original.toString()) continue
        const { ok } = await afterChange((copy) => writeFileSync(join(copy, relative), changed.join('')))
        expect(ok).toBe(false)
      }
    }
  })
})

describe('what only the ledger can show', () => {
  test.each<[string, RegExp, (copy: string) => void | Promise<void>]>([
    ['a recording that was deleted', /session ses_a is missing/, (copy) => rmSync(join(copy, relative))],
    ['a recording emptied', /cut off/, (copy) => writeFileSync(join(copy, relative), '')],
    [
      'a recording of which nothing but the start is left',
      /cut off/,
      (copy) =>
        writeFileSync(join(copy, relative), original.toString().split('\n').slice(0, 3).join('\n') + '\n'),
    ],
    [
      "a recording replaced by another session's",
      /is not what was sealed|recording of/,
      (copy) => copyFileSync(join(copy, relative.replace('ses_a', 'ses_b')), join(copy, relative)),
    ],
    [
      'a recording that nobody made',
      /not in the ledger/,
      (copy) => copyFileSync(join(copy, relative), join(copy, relative.replace('ses_a', 'ses_c'))),
    ],
    [
      'a recording moved to another day',
      /lies under 2020-01-01, and began on \d{4}-\d{2}-\d{2}/,
      (copy) => {
        mkdirSync(join(copy, '2020-01-01'))
        renameSync(join(copy, relative), join(copy, '2020-01-01', 'ses_a.jsonl'))
      },
    ],
    [
      'a recording copied to another day',
      /two recordings/,
      (copy) => {
        mkdirSync(join(copy, '2020-01-01'))
        copyFileSync(join(copy, relative), join(copy, '2020-01-01', 'ses_a.jsonl'))
      },
    ],
    ['a ledger that was deleted', /ledger is missing/, (copy) => rmSync(join(copy, 'ledger.jsonl'))],
    [
      'a ledger renamed to a later one',
      /ledger is missing/,
      (copy) => renameSync(join(copy, 'ledger.jsonl'), join(copy, 'ledger-002.jsonl')),
    ],
  ])('%s', async (_what, why, change) => {
    const { ok, faults } = await afterChange(change)
    expect(ok).toBe(false)
    expect(faults.map((fault) => fault.why).join('\n')).toMatch(why)
  })

  test('a ledger cut back loses sessions, or the head that was kept elsewhere', async () => {
    const { ledger } = await check(dir)
    const lines = readFileSync(join(dir, 'ledger.jsonl'), 'utf8').split(/(?<=\n)/)
    for (let at = 0; at < lines.length; at++) {
      const copy = `${dir}-copy`
      cpSync(dir, copy, { recursive: true })
      writeFileSync(join(copy, 'ledger.jsonl'), lines.slice(0, at).join(''))
      const report = await verify(copy, { publicKey: publicJwk, ledgerHead: ledger?.head ?? '' })
      expect(report.ok && ledger?.head !== report.ledger?.head, `cut before line ${at + 1}`).toBe(false)
      rmSync(copy, { recursive: true })
    }
  })
})

describe('forgeries, which lack the key', () => {
  const forger = generateKeyPairSync('ed25519')
  const forged = { kid: publicJwk.kid, sign: (data: Uint8Array) => sign(null, data, forger.privateKey) }

  test('a recording written anew from the start', async () => {
    const chain = new Chain('ses_a', forged)
    const out: Buffer[] = []
    for (const event of [startOf('ses_a'), request('select nothing'), end]) {
      chain.add(JSON.stringify(event), 1)
      chain.sign(1)
      out.push(Buffer.from(chain.take()))
      chain.taken()
    }
    const { ok, faults } = await afterChange((copy) =>
      writeFileSync(join(copy, relative), Buffer.concat(out)),
    )
    expect({ ok, line: faults[0]?.line, why: faults[0]?.why }).toMatchObject({
      ok: false,
      line: 1,
      why: expect.stringMatching(/anew/),
    })
    const alone = join(dir, '..', 'one.jsonl')
    writeFileSync(alone, Buffer.concat(out))
    expect(await check(alone)).toMatchObject({
      ok: false,
      faults: [{ line: 3, why: expect.stringMatching(/forged/) }],
    })
    rmSync(alone)
  })

  test('an end put on a session that was cut, sealed but not signed by the key', async () => {
    const parts: ChainPart[] = []
    for await (const part of readChain(path, 'ses_a', keyFinder([publicJwk]))) parts.push(part)
    const cut = parts[2]
    if (cut?.kind !== 'block') throw new Error('the third part is a block')
    for (const signed of [true, false]) {
      const chain = new Chain('ses_a', forged, { state: cut.state, tail: Buffer.alloc(0) })
      chain.add(JSON.stringify(end), 1)
      if (signed) chain.sign(1)
      else chain.seal()
      const bytes = Buffer.concat([original.subarray(0, cut.end), chain.take()])
      const copy = join(dir, '..', 'one.jsonl')
      writeFileSync(copy, bytes)
      expect(await check(copy)).toMatchObject({
        ok: false,
        faults: [{ why: expect.stringMatching(signed ? /forged/ : /not signed/) }],
      })
      rmSync(copy)
      expect(await afterChange((folder) => writeFileSync(join(folder, relative), bytes))).toMatchObject({
        ok: false,
      })
    }
  })

  test('a key of the forger in keys.json does not help against a given key, and is reported without one', async () => {
    const changed = async (copy: string): Promise<void> => {
      writeFileSync(
        join(copy, 'keys.json'),
        JSON.stringify({ keys: [{ ...forger.publicKey.export({ format: 'jwk' }), kid: publicJwk.kid }] }),
      )
    }
    expect(await afterChange(changed)).toMatchObject({ ok: true, keys: 'given' })
    const copy = `${dir}-copy`
    cpSync(dir, copy, { recursive: true })
    await changed(copy)
    expect(await verify(copy)).toMatchObject({ ok: false, keys: 'directory' })
    rmSync(copy, { recursive: true })
  })

  test("another session's signed block does not fit", async () => {
    const other = readFileSync(path.replace('ses_a', 'ses_b'))
      .toString()
      .split(/(?<="records":\d+}\n)/)
    const mine = original.toString().split(/(?<="records":\d+}\n)/)
    for (let at = 0; at < mine.length; at++) {
      const { ok } = await afterChange((copy) =>
        writeFileSync(join(copy, relative), mine.toSpliced(at, 1, other[at] ?? '').join('')),
      )
      expect(ok).toBe(false)
    }
  })
})

test('nothing to verify is an error, not a success', async () => {
  await expect(check(join(dir, 'nowhere'))).rejects.toMatchObject({ code: 'not_found' })
  mkdirSync(join(dir, '..', 'empty'))
  expect(await check(join(dir, '..', 'empty'))).toMatchObject({ ok: false })
  writeFileSync(join(dir, '..', 'empty.jsonl'), '')
  expect(await check(join(dir, '..', 'empty.jsonl'))).toMatchObject({ ok: false })
})

test('a gateway does not start on a ledger that was changed, and says how to go on', async () => {
  const copy = `${dir}-copy`
  cpSync(dir, copy, { recursive: true })
  const ledger = join(copy, 'ledger.jsonl')
  writeFileSync(
    ledger,
    readFileSync(ledger, 'utf8').replace('"kind":"gateway-start"', '"kind":"gateway-stort"'),
  )
  const refusal = await open(copy).then(() => 'it opened', String)
  expect(refusal).toMatch(/line 1 /)
  const acceptLoss = /--accept-ledger-loss ([0-9a-f]{64})/.exec(refusal)?.[1]
  await expect(open(copy)).rejects.toMatchObject({ code: 'recording_failed' })

  // Whoever can change the folder cannot accept that in the operator's place.
  writeFileSync(join(copy, 'ledger-002.jsonl'), '', { mode: 0o600 })
  await expect(open(copy)).rejects.toThrow(/ledger-002\.jsonl follows it/)
  rmSync(join(copy, 'ledger-002.jsonl'))
  await expect(open(copy, { acceptLoss: 'unknown' })).rejects.toMatchObject({ code: 'recording_failed' })
  const recordings = await open(copy, { acceptLoss })
  await recordSession(recordings, 'ses_c')
  await recordings.close('done')
  // What was damaged stays so, and is reported for ever; what came after is whole.
  const report = await check(copy)
  expect(report.ok).toBe(false)
  expect(report.faults[0]).toMatchObject({ file: ledger, line: 1 })
  expect(report.faults.slice(1)).toEqual([
    expect.objectContaining({
      file: join(copy, 'ledger-002.jsonl'),
      why: expect.stringContaining('loss was accepted: ledger.jsonl: line 1'),
    }),
  ])
  // Nor can the damaged one be changed again.
  appendFileSync(ledger, ' ')
  expect((await check(copy)).faults.map(({ why }) => why).join()).toContain(
    'changed after this ledger was begun',
  )
  expect(readdirSync(copy)).toContain('ledger.jsonl')
  rmSync(copy, { recursive: true })
})
