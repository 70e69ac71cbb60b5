import { expect, test } from 'vitest'
import { FrameReader, acceptOf, closing, frameOf, opcodes } from '../../gateway/http-relay/websocket.ts'

test('the answer to a key is that of RFC 6455 §1.3', () => {
  expect(acceptOf('dGhlIHNhbXBsZSBub25jZQ==')).toBe('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
})

test.each([0, 1, 125, 126, 65_535, 65_536])('a frame of %i bytes is read as it was made', (length) => {
  const payload = Buffer.alloc(length, 'x')
  for (const masked of [true, false]) {
    const frames = new FrameReader({ masked }).push(frameOf(opcodes.binary, payload, masked))
    expect(frames).toEqual([{ opcode: opcodes.binary, fin: true, payload }])
  }
})

test('frames are the same wherever they are split', () => {
  const bytes = Buffer.concat([
    frameOf(opcodes.binary, Buffer.from('\u0001hello'), true),
    frameOf(opcodes.ping, Buffer.alloc(0), true),
    frameOf(opcodes.close, closing(1000, 'bye'), true),
  ])
  const whole = new FrameReader({ masked: true }).push(bytes)
  for (let at = 0; at <= bytes.length; at++) {
    const reader = new FrameReader({ masked: true })
    const split = [...reader.push(bytes.subarray(0, at)), ...reader.push(bytes.subarray(at))]
    expect(split).toEqual(whole)
  }
})

test('frames that come byte by byte are the same', () => {
  const bytes = Buffer.concat([
    frameOf(opcodes.binary, Buffer.alloc(70_000, 'x'), true),
    frameOf(opcodes.binary, Buffer.from('y'), true),
  ])
  const reader = new FrameReader({ masked: true })
  const frames = Array.from(bytes, (byte) => reader.push(Buffer.of(byte))).flat()
  expect(frames.map(({ payload }) => payload.byteLength)).toEqual([70_000, 1])
})

test.each([
  ['a reserved bit', [0xc1, 0x80, 0, 0, 0, 0]],
  ['an unknown opcode', [0x83, 0x80, 0, 0, 0, 0]],
  ['no mask', [0x81, 0x01, 0x61]],
  ['a ping in pieces', [0x09, 0x80, 0, 0, 0, 0]],
  ['a ping of 126 bytes', [0x89, 0xfe, 0, 126]],
  ['more than the cap', [0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0]],
  ['a length beyond all bounds', [0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]],
])('%s is refused', (_, bytes) => {
  expect(() => new FrameReader({ masked: true }).push(Buffer.from(bytes))).toThrow(/RFC 6455/)
})
