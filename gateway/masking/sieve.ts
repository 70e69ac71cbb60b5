import { set, sets } from './scan.ts'
import { assemble } from './wat.ts'

/** A text is looked through in windows of this many bytes. */
export const WINDOW = 65_536
/** What is read behind a window, so that whatever starts in it is found in it. */
const BEHIND = 16
/** A word of this length has four bytes in a row at a place that is a multiple of four, wherever it stands. */
export const LONG_WORD = 7
/** No card number is shorter, so that every 14th byte is enough to look at. */
const SHORTEST_CARD = 14
/** Spreads neighbours over a table (Knuth's multiplicative hash). */
const SPREAD = 0x9e3779b1
/** Bits of the table of trigrams. */
const TRIGRAM_BITS = 15
/** The table of grams has 64 bits for each, between these powers of two. */
const [LEAST_GRAM_BITS, MOST_GRAM_BITS] = [16, 22]

/*
 * The memory of the code:
 *
 *        0  six tables of 16 bytes: by the low and the high half of each of a trigram's bytes, the buckets that have it
 *  CLASSES  1 for digits and 2 for what stands between them, by byte
 * TRIGRAMS  one bit for each hash that a trigram has
 *     TEXT  the window
 *   PLACES  where trigrams may be, in bytes from its beginning
 *     FOUR  where grams may be
 *     RUNS  from, to of each run
 *    GRAMS  one bit for each hash that a gram has
 */
const CLASSES = 256
const TRIGRAMS = 4096
const TEXT = 8192
const PLACES = TEXT + WINDOW + 1024
const FOUR = PLACES + 4 * (WINDOW + 32)
const RUNS = FOUR + WINDOW + 32
const GRAMS = RUNS + WINDOW
const PAGES = Math.ceil((GRAMS + (1 << (MOST_GRAM_BITS - 3))) / 65_536)

/** The buckets that have a byte of the block as that byte of their trigrams. Both halves are under 16, where the relaxed instruction does what the other one does. */
const buckets = (place: number): string => `
  (v128.and
    (i8x16.relaxed_swizzle (v128.load offset=${32 * place} (i32.const 0)) (local.get $low))
    (i8x16.relaxed_swizzle (v128.load offset=${32 * place + 16} (i32.const 0)) (local.get $high)))`

/** The last bytes of a vector, and behind them the first of the next. */
const behind = (count: number, before: string, after: string): string =>
  `(i8x16.shuffle ${Array.from({ length: 16 }, (_, at) => 16 - count + at).join(' ')} (local.get ${before}) (local.get ${after}))`

/** Not zero where the bit of a hash is set. */
const has = (table: number): string => `
  (i32.and (i32.const 1) (i32.shr_u
    (i32.load8_u offset=${table} (i32.shr_u (local.get $hash) (i32.const 3)))
    (i32.and (local.get $hash) (i32.const 7))))`

const classOf = (offset: number, at: string): string =>
  `(i32.load8_u offset=${CLASSES} (i32.load8_u offset=${TEXT + offset} (local.get ${at})))`

const code = `
(module
  (memory (export "memory") ${PAGES})

  ;; Where trigrams may be. For 16 places at once the buckets that have the low and the high half of each of three
  ;; bytes (the packed search of Hyperscan's "Teddy"); what comes through is looked up by its hash.
  (func (export "trigrams") (param $length i32) (result i32)
    (local $at i32) (local $out i32) (local $left i32) (local $place i32) (local $hash i32)
    (local $half v128) (local $none v128) (local $bytes v128) (local $match v128) (local $low v128) (local $high v128)
    (local $first v128) (local $second v128) (local $firstBefore v128) (local $secondBefore v128)
    (local.set $half (i8x16.splat (i32.const 15)))
    (block $end
      (loop $next
        (br_if $end (i32.ge_u (local.get $at) (local.get $length)))
        (local.set $bytes (v128.load offset=${TEXT} (local.get $at)))
        (local.set $low (v128.and (local.get $bytes) (local.get $half)))
        (local.set $high (i8x16.shr_u (local.get $bytes) (i32.const 4)))
        (local.set $first ${buckets(0)})
        (local.set $second ${buckets(1)})
        (local.set $match (v128.and ${buckets(2)} (v128.and
          ${behind(2, '$firstBefore', '$first')}
          ${behind(1, '$secondBefore', '$second')})))
        (local.set $firstBefore (local.get $first))
        (local.set $secondBefore (local.get $second))
        (if (v128.any_true (local.get $match)) (then
          (local.set $left (i32.xor (i32.const 65535)
            (i8x16.bitmask (i8x16.eq (local.get $match) (local.get $none)))))
          (loop $more
            (local.set $place (i32.sub (i32.add (local.get $at) (i32.ctz (local.get $left))) (i32.const 2)))
            (local.set $hash (i32.shr_u
              (i32.mul (i32.const ${SPREAD})
                (i32.and (i32.const ${0xffffff}) (i32.load offset=${TEXT} (local.get $place))))
              (i32.const ${32 - TRIGRAM_BITS})))
            (if ${has(TRIGRAMS)} (then
              (i32.store offset=${PLACES} (local.get $out) (local.get $place))
              (local.set $out (i32.add (local.get $out) (i32.const 4)))))
            (local.set $left (i32.and (local.get $left) (i32.sub (local.get $left) (i32.const 1))))
            (br_if $more (local.get $left)))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $next)))
    (i32.shr_u (local.get $out) (i32.const 2)))

  ;; Where grams may be: every four bytes at a multiple of four, in either case, looked up by their hash.
  (func (export "grams") (param $length i32) (param $shift i32) (result i32)
    (local $at i32) (local $out i32) (local $hash i32)
    (block $end
      (loop $next
        (br_if $end (i32.ge_u (local.get $at) (local.get $length)))
        (local.set $hash (i32.shr_u
          (i32.mul (i32.const ${SPREAD})
            (i32.or (i32.const ${0x20202020}) (i32.load offset=${TEXT} (local.get $at))))
          (local.get $shift)))
        (if ${has(GRAMS)} (then
          (i32.store offset=${FOUR} (local.get $out) (local.get $at))
          (local.set $out (i32.add (local.get $out) (i32.const 4)))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br $next)))
    (i32.shr_u (local.get $out) (i32.const 2)))

  ;; Runs of digits and what stands between them that have as many digits as a card number, or begin with the window.
  (func (export "runs") (param $length i32) (result i32)
    (local $at i32) (local $out i32) (local $from i32) (local $to i32) (local $class i32) (local $digits i32)
    (local $near i32) (local $bytes v128)
    (block $end
      (loop $next
        (br_if $end (i32.ge_u (local.get $at) (local.get $length)))
        ;; The seven bytes before the place, itself, and those behind: a run that is long enough has one side whole.
        (local.set $bytes (v128.load offset=${TEXT - 7} (local.get $at)))
        ;; From a space to a nine is more than can stand in a run; a closer look is taken below.
        (local.set $near (i8x16.bitmask
          (i8x16.lt_u (i8x16.sub (local.get $bytes) (i8x16.splat (i32.const 0x20))) (i8x16.splat (i32.const 0x1a)))))
        (if (i32.or (i32.eqz (i32.or (local.get $at) (i32.eqz ${classOf(0, '$at')}))) (i32.or
            (i32.eq (i32.const 0xff) (i32.and (i32.const 0xff) (local.get $near)))
            (i32.eq (i32.const 0x7f80) (i32.and (i32.const 0x7f80) (local.get $near))))) (then
          (local.set $digits (i32.const 0))
          (local.set $from (local.get $at))
          (block $begun
            (loop $back
              (br_if $begun (i32.eqz (local.get $from)))
              (br_if $begun (i32.eqz (local.tee $class ${classOf(-1, '$from')})))
              (local.set $digits (i32.add (local.get $digits) (i32.and (i32.const 1) (local.get $class))))
              (local.set $from (i32.sub (local.get $from) (i32.const 1)))
              (br $back)))
          (local.set $to (local.get $at))
          (block $ended
            (loop $on
              (br_if $ended (i32.ge_u (local.get $to) (local.get $length)))
              (br_if $ended (i32.eqz (local.tee $class ${classOf(0, '$to')})))
              (local.set $digits (i32.add (local.get $digits) (i32.and (i32.const 1) (local.get $class))))
              (local.set $to (i32.add (local.get $to) (i32.const 1)))
              (br $on)))
          (if (i32.or (i32.eqz (local.get $from))
              (i32.ge_u (local.get $digits) (i32.const ${SHORTEST_CARD}))) (then
            (i32.store offset=${RUNS} (local.get $out) (local.get $from))
            (i32.store offset=${RUNS + 4} (local.get $out) (local.get $to))
            (local.set $out (i32.add (local.get $out) (i32.const 8)))))
          ;; The byte behind a run is in none, so that the next place is as far from it as any two are.
          (local.set $at (local.get $to))))
        (local.set $at (i32.add (local.get $at) (i32.const ${SHORTEST_CARD})))
        (br $next)))
    (i32.shr_u (local.get $out) (i32.const 3)))
)`

const module = new WebAssembly.Module(assemble(code))

type Find = (length: number, shift?: number) => number

/** Says, at some gigabytes a second, where in a text a closer look is due. It may say so in vain, and never misses. */
export class Sieve {
  /** Where in the window trigrams may be, the first `trigramCount` of them. */
  readonly trigrams: Uint32Array
  trigramCount = 0
  /** Where in the window grams may be, the first `gramCount` of them. */
  readonly grams: Uint32Array
  gramCount = 0
  /** `from, to` of the window's runs in which a card number may be, the first `runCount` of them. */
  readonly runs: Uint32Array
  runCount = 0
  readonly #text: Uint8Array
  readonly #shift: number
  readonly #find: { readonly trigrams: Find; readonly grams: Find; readonly runs: Find }
  readonly #cards: boolean

  /** `trigrams`: three bytes each, the first in the low bits; `grams`: four bytes each, as `gramOf` makes them. */
  constructor(trigrams: readonly number[], grams: readonly number[], cards: boolean) {
    const { exports } = new WebAssembly.Instance(module)
    const { memory } = exports
    if (!(memory instanceof WebAssembly.Memory)) throw new Error('the module of the sieve exports no memory')
    const bytes = new Uint8Array(memory.buffer)
    this.#find = { trigrams: call(exports.trigrams), grams: call(exports.grams), runs: call(exports.runs) }
    this.#text = bytes.subarray(TEXT, PLACES)
    this.trigrams = new Uint32Array(memory.buffer, PLACES, WINDOW + 32)
    this.grams = new Uint32Array(memory.buffer, FOUR, WINDOW / 4 + 8)
    this.runs = new Uint32Array(memory.buffer, RUNS, WINDOW / 4)
    this.#cards = cards
    const wanted = Math.ceil(Math.log2(64 * (grams.length + 1)))
    this.#shift = 32 - Math.min(MOST_GRAM_BITS, Math.max(LEAST_GRAM_BITS, wanted))
    for (const gram of grams) mark(bytes, GRAMS, hash(gram, this.#shift))
    for (const trigram of trigrams) mark(bytes, TRIGRAMS, hash(trigram, 32 - TRIGRAM_BITS))
    bucketsOf(trigrams).forEach((bucket, index) => {
      for (const trigram of bucket) {
        for (let place = 0; place < 3; place++) {
          const byte = (trigram >> (8 * place)) & 0xff
          for (const table of [32 * place + (byte & 15), 32 * place + 16 + (byte >> 4)])
            bytes[table] = (bytes[table] ?? 0) | (1 << index)
        }
      }
    })
    for (let byte = 0; byte < 256; byte++) {
      const kind = sets[byte] ?? 0
      bytes[CLASSES + byte] = (kind & set.digit) !== 0 ? 1 : (kind & set.card) !== 0 ? 2 : 0
    }
  }

  /** Looks through the window that begins at `from`; gives where the next one begins. */
  look(bytes: Uint8Array, from: number): number {
    const text = this.#text
    const length = Math.min(WINDOW, bytes.length - from)
    const all = Math.min(length + BEHIND, bytes.length - from)
    // What an earlier text has left behind this one can only be looked at in vain.
    if (all === bytes.length && all > 64) text.set(bytes)
    else if (all > 64) text.set(bytes.subarray(from, from + all))
    else for (let i = 0; i < all; i++) text[i] = bytes[from + i] as number
    this.trigramCount = this.#find.trigrams(all)
    this.gramCount = this.#find.grams(all, this.#shift)
    this.runCount = this.#cards ? this.#find.runs(length) : 0
    return from + length
  }
}

/** Four bytes as the sieve compares them: the first in the low bits, letters in either case. */
export function gramOf(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) |
      ((bytes[at + 1] ?? 0) << 8) |
      ((bytes[at + 2] ?? 0) << 16) |
      ((bytes[at + 3] ?? 0) << 24) |
      0x20202020) >>>
    0
  )
}

/** Three bytes, the first in the low bits. */
export function trigramOf(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16)
}

function hash(value: number, shift: number): number {
  return Math.imul(value, SPREAD) >>> shift
}

function mark(bytes: Uint8Array, table: number, bit: number): void {
  bytes[table + (bit >> 3)] = (bytes[table + (bit >> 3)] ?? 0) | (1 << (bit & 7))
}

function call(exported: unknown): Find {
  if (typeof exported !== 'function') throw new Error('the module of the sieve exports no such function')
  return (length, shift) => Number(exported(length, shift))
}

/** Eight buckets, each trigram in the one that it makes let through the least more. */
function bucketsOf(trigrams: readonly number[]): number[][] {
  const buckets: number[][] = Array.from({ length: 8 }, () => [])
  for (const trigram of trigrams) {
    const added = buckets.map((bucket) => passing([...bucket, trigram]) - passing(bucket))
    buckets[added.indexOf(Math.min(...added))]?.push(trigram)
  }
  return buckets
}

/** How much of a text a bucket lets through, roughly. */
function passing(bucket: readonly number[]): number {
  let product = bucket.length === 0 ? 0 : 1
  for (let place = 0; place < 3; place++) {
    const low = new Set(bucket.map((trigram) => (trigram >> (8 * place)) & 15))
    const high = new Set(bucket.map((trigram) => (trigram >> (8 * place + 4)) & 15))
    let sum = 0
    for (const a of low) for (const b of high) sum += weight((b << 4) | a)
    product *= sum
  }
  return product
}

/** How often a byte comes in text and data, roughly. */
export function weight(byte: number): number {
  const common = ' etaoinsrhl0123456789'
  const character = String.fromCharCode(byte)
  if (common.includes(character)) return 12
  if (character >= 'a' && character <= 'z') return 'jkqvxz'.includes(character) ? 2 : 7
  if ('",:/.-='.includes(character)) return 6
  return character >= 'A' && character <= 'Z' ? 3 : 2
}
