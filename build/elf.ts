// What a program for Linux is built for, by its ELF header (elf(5); System V ABI, chapters 4 and 5). 64 bits, little-endian:
//
//   0x00 7f 'E' 'L' 'F' | class: 2 | data: 1      0x12 e_machine u16
//   0x20 e_phoff u64                              0x36 e_phentsize u16 | e_phnum u16
//   program header   p_type u32 | p_flags u32 | p_offset u64 | p_vaddr u64 | p_paddr u64 | p_filesz u64 …
//   dynamic entry    d_tag u64 | d_val u64

const machines: Readonly<Record<number, string>> = { 62: 'x64', 183: 'arm64' }
const [LOAD, DYNAMIC, INTERPRETER] = [1, 2, 3]
const [NEEDED, STRINGS] = [1n, 5n]
const TABLE = { headers: 128, entries: 4096 }

/** What a program or a library runs on, and what it is loaded with. */
export interface Elf {
  /** As Node calls it: x64, arm64. */
  readonly arch: string
  /** The C library whose loader starts it; null for a library, which says nothing of it. */
  readonly libc: 'glibc' | 'musl' | null
  /** The libraries that it cannot start without, by name. */
  readonly needed: readonly string[]
}

interface Segment {
  readonly type: number
  readonly offset: number
  readonly address: bigint
  readonly size: number
}

/** Reads what a file is built for; null where it is no program or library for a Linux that is known here. */
export function readElf(file: Buffer): Elf | null {
  try {
    // 64 bits, little-endian.
    if (file.readUInt32BE(0) !== 0x7f454c46 || file.readUInt16BE(4) !== 0x0201) return null
    const arch = machines[file.readUInt16LE(0x12)]
    if (arch === undefined) return null
    const segments = readSegments(file)
    const interpreter = segments.find(({ type }) => type === INTERPRETER)
    const libc = interpreter === undefined ? null : libcOf(textAt(file, interpreter.offset))
    return { arch, libc, needed: readNeeded(file, segments) }
  } catch (error) {
    if (error instanceof RangeError) return null // it ends before it should
    throw error
  }
}

function libcOf(loader: string): Elf['libc'] {
  if (loader.includes('/ld-musl-')) return 'musl'
  return loader.includes('/ld-linux-') ? 'glibc' : null
}

function readSegments(file: Buffer): Segment[] {
  const [start, size, count] = [place(file, 0x20), file.readUInt16LE(0x36), file.readUInt16LE(0x38)]
  return Array.from({ length: Math.min(count, TABLE.headers) }, (_, index) => {
    const at = start + index * size
    return {
      type: file.readUInt32LE(at),
      offset: place(file, at + 0x08),
      address: file.readBigUInt64LE(at + 0x10),
      size: place(file, at + 0x20),
    }
  })
}

function readNeeded(file: Buffer, segments: readonly Segment[]): string[] {
  const dynamic = segments.find(({ type }) => type === DYNAMIC)
  if (dynamic === undefined) return []
  const entries: (readonly [bigint, bigint])[] = []
  for (
    let at = dynamic.offset;
    entries.length < TABLE.entries && at < dynamic.offset + dynamic.size;
    at += 16
  ) {
    entries.push([file.readBigUInt64LE(at), file.readBigUInt64LE(at + 8)])
  }
  const strings = entries.find(([tag]) => tag === STRINGS)?.[1] ?? 0n
  const base = segments.find(
    ({ type, address, size }) => type === LOAD && strings >= address && strings < address + BigInt(size),
  )
  if (base === undefined) return []
  const from = base.offset + Number(strings - base.address)
  return entries.filter(([tag]) => tag === NEEDED).map(([, offset]) => textAt(file, from + Number(offset)))
}

/** An offset within the file. */
function place(file: Buffer, at: number): number {
  const offset = Number(file.readBigUInt64LE(at))
  if (offset > file.length) throw new RangeError('beyond the end')
  return offset
}

function textAt(file: Buffer, at: number): string {
  if (at > file.length) throw new RangeError('beyond the end')
  return file.toString('latin1', at, Math.min(at + 256, file.length)).split('\0', 1)[0] ?? ''
}
