import { expect, test } from 'vitest'
import { Front, message } from '../../../gateway/protocols/postgres/codec.ts'
import { FrameReader } from '../../../gateway/protocols/postgres/frames.ts'

const stream = Buffer.concat([
  message(Front.query, 'SELECT 1'),
  message(Front.sync),
  message(Front.copyData, Buffer.from('a row of data\n')),
  message(Front.copyData, Buffer.alloc(0)),
  message(Front.copyDone),
  message(Front.bind, Buffer.alloc(300, 7)),
])

/** Everything found, pieces put together. */
function readAll(chunks: readonly Buffer[], streamed = 0): string[] {
  const frames = new FrameReader(() => 1000, streamed)
  const found: string[] = []
  let pieces: Buffer[] = []
  for (const chunk of chunks) {
    frames.push(chunk)
    for (let kind = frames.next(); kind !== null; kind = frames.next()) {
      const bytes = Buffer.from(frames.source.subarray(frames.start, frames.end))
      if (kind === 'whole') found.push(bytes.toString('hex'))
      else if (kind === 'oversize') found.push(`oversize ${frames.type}`)
      else {
        if (frames.first) pieces = []
        pieces.push(bytes)
        if (frames.last) found.push(Buffer.concat(pieces).toString('hex'))
      }
    }
  }
  expect(frames.buffered).toBe(0)
  return found
}

const whole = readAll([stream])

test('messages are the same wherever the stream is split in two', () => {
  for (let at = 0; at <= stream.length; at++) {
    for (const streamed of [0, Front.copyData]) {
      expect(readAll([stream.subarray(0, at), stream.subarray(at)], streamed)).toEqual(whole)
    }
  }
})

test('messages are the same byte by byte, and in random pieces', () => {
  expect(readAll([...stream].map((byte) => Buffer.of(byte)))).toEqual(whole)
  let seed = 42
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return seed % below
  }
  for (let round = 0; round < 200; round++) {
    const chunks: Buffer[] = []
    for (let at = 0; at < stream.length; ) {
      const size = 1 + random(40)
      chunks.push(stream.subarray(at, at + size))
      at += size
    }
    expect(readAll(chunks, random(2) * Front.copyData)).toEqual(whole)
  }
})

test('a message over its cap is skipped without being kept, and the next is found', () => {
  const large = message(Front.query, 'x'.repeat(5000))
  const after = message(Front.sync)
  for (let at = 0; at <= 20; at++) {
    const both = Buffer.concat([large, after])
    expect(readAll([both.subarray(0, at), both.subarray(at, 3000), both.subarray(3000)])).toEqual([
      `oversize ${Front.query}`,
      after.toString('hex'),
    ])
  }
})

test('a length below 4 is a violation, not a message', () => {
  for (const length of [0, 1, 3]) {
    const frames = new FrameReader(() => 1000)
    frames.push(Buffer.from([Front.sync, 0, 0, 0, length]))
    expect(() => frames.next()).toThrow('is 3 bytes long'.replace('3', String(length)))
  }
})

test('garbage never gives more than was pushed', () => {
  let seed = 7
  for (let round = 0; round < 2000; round++) {
    const frames = new FrameReader(() => 1000, Front.copyData)
    const bytes = Buffer.alloc(64)
    for (let at = 0; at < bytes.length; at++) {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
      bytes[at] = round % 2 === 0 ? seed >> 16 : (seed >> 16) % 5
    }
    let total = 0
    try {
      frames.push(bytes)
      for (let kind = frames.next(); kind !== null; kind = frames.next()) {
        if (kind !== 'oversize') total += frames.end - frames.start
      }
    } catch (error) {
      expect(error).toMatchObject({ code: 'protocol_violation' })
    }
    expect(total).toBeLessThanOrEqual(bytes.length)
  }
})

test('it knows whether a message of a type waits unread', () => {
  const frames = new FrameReader(() => 1000)
  frames.push(message(Front.query, 'SELECT X'))
  expect(frames.holds(Front.terminate)).toBe(false)
  frames.push(message(Front.terminate))
  expect(frames.holds(Front.terminate)).toBe(true)
})

test('a stretch is whole messages of one type, wherever the stream is split', () => {
  const row = (text: string): Buffer => message(Front.copyData, Buffer.from(text))
  const rows = Buffer.concat([
    row('one'),
    row(''),
    row('three'),
    message(Front.sync),
    row('four'),
    row('five'),
  ])
  for (let at = 0; at <= rows.length; at++) {
    const frames = new FrameReader(() => 1000)
    const found: Buffer[] = []
    for (const chunk of [rows.subarray(0, at), rows.subarray(at)]) {
      frames.push(chunk)
      while (frames.next() !== null) {
        frames.stretch()
        found.push(Buffer.from(frames.source.subarray(frames.start, frames.end)))
      }
    }
    expect(Buffer.concat(found)).toEqual(rows)
    expect(frames.buffered).toBe(0)
    for (const stretch of found) {
      const types = new Set<number | undefined>()
      for (let from = 0; from < stretch.length; from += 1 + stretch.readUInt32BE(from + 1))
        types.add(stretch[from])
      expect(types.size).toBe(1)
    }
    if (at === 0) expect(found).toHaveLength(3)
  }
})

test('a stretch ends before a message that is over its cap or says less than its own length', () => {
  for (const bad of [Buffer.from('6400000003', 'hex'), message(Front.copyData, Buffer.alloc(1001))]) {
    const frames = new FrameReader(() => 1000)
    const row = message(Front.copyData, Buffer.from('one'))
    frames.push(Buffer.concat([row, row, bad]))
    expect(frames.next()).toBe('whole')
    frames.stretch()
    expect(frames.end).toBe(2 * row.length)
    if (bad.length > 5) expect(frames.next()).toBe('oversize')
    else expect(() => frames.next()).toThrow('3 bytes long')
  }
})
