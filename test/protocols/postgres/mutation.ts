import { Front, message } from '../../../gateway/protocols/postgres/codec.ts'
import type { Random } from '../../policy/random.ts'

/** How long each fuzzing test goes on, in milliseconds; HOOP_FUZZ_MS for longer. */
export const fuzzMs = Number(process.env['HOOP_FUZZ_MS'] ?? 2500)

/** The same bytes with a few of them changed, left out, repeated or put in. */
export function mutateBytes(random: Random, bytes: Buffer): Buffer {
  let out = Buffer.from(bytes)
  for (let left = 1 + random.below(4); left > 0 && out.length > 0; left -= 1) {
    const at = random.below(out.length)
    const size = 1 + random.below(6)
    const rest = out.subarray(at + size)
    switch (random.below(5)) {
      case 0:
        out[at] = random.below(256)
        break
      case 1:
        out[at] = random.pick([0, 1, 0x7f, 0x80, 0xff])
        break
      case 2:
        out = Buffer.concat([out.subarray(0, at), rest])
        break
      case 3:
        out = Buffer.concat([out.subarray(0, at + size), out.subarray(at, at + size), rest])
        break
      default:
        out = Buffer.concat([out.subarray(0, at), randomBytes(random, size), out.subarray(at)])
    }
  }
  return out
}

/** The bytes in pieces, cut anywhere. */
export function cut(random: Random, bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random.below(random.pick([3, 40, 4000]))
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

/** A message of a client with anything in it. */
export function randomMessage(random: Random): Buffer {
  return message(random.pick(Object.values(Front)), randomBytes(random, random.below(30)))
}

export function randomBytes(random: Random, size: number): Buffer {
  return Buffer.from(Array.from({ length: size }, () => random.below(256)))
}
