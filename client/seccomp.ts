// A filter for seccomp(2): what the kernel hands from one process to the next, whatever namespaces lie between them.
// One instruction is a `struct sock_filter`: u16 code, u8 jump if true, u8 jump if false, u32 k, in the machine's order.

const load = 0x20 // BPF_LD | BPF_W | BPF_ABS
const isEqual = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
const answer = 0x06 // BPF_RET | BPF_K
/** Offsets in `struct seccomp_data`; of the second argument its lower half, which is all that ioctl(2) looks at. */
const at = { number: 0, architecture: 4, secondArgument: 24 }
const allow = 0x7fff0000
/** SECCOMP_RET_ERRNO with an errno: as where the kernel has none of it, and as where it is not permitted. */
const [absent, forbidden] = [0x00050000 | 38, 0x00050000 | 1]
const killed = 0x80000000

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, k: number]

/** TIOCSTI types into the terminal, TIOCLINUX pastes into a console. */
const typing = [0x5412, 0x541c]
/** By AUDIT_ARCH: add_key, request_key, keyctl, and ioctl, by the numbers of every table that a process may use. */
const tables: readonly (readonly [
  architecture: number,
  keys: readonly number[],
  ioctl: readonly number[],
])[] = [
  // x32 has the bit 30, and an ioctl of its own.
  [0xc000003e, [248, 249, 250, 0x400000f8, 0x400000f9, 0x400000fa], [16, 0x40000010, 0x40000202]],
  [0x40000003, [286, 287, 288], [54]],
  [0xc00000b7, [217, 218, 219], [29]],
  [0x40000028, [309, 310, 311], [54]],
]

/**
 * A program that keeps a command from the keyrings that it inherits, and from typing into the terminal it is at: bytes as
 * `bwrap --seccomp` reads them, for Linux on x64 and arm64 and what else these run.
 */
export function seccompFilter(): Buffer {
  const program: Instruction[] = tables.flatMap(([architecture, keys, ioctl]) => {
    const rules: Instruction[] = [
      [load, 0, 0, at.number],
      ...keys.flatMap((number): Instruction[] => [
        [isEqual, 0, 1, number],
        [answer, 0, 0, absent],
      ]),
      ...ioctl.flatMap((number): Instruction[] => [
        [isEqual, 0, 2 + 2 * typing.length, number],
        [load, 0, 0, at.secondArgument],
        ...typing.flatMap((request): Instruction[] => [
          [isEqual, 0, 1, request],
          [answer, 0, 0, forbidden],
        ]),
        [answer, 0, 0, allow],
      ]),
      [answer, 0, 0, allow],
    ]
    return [[load, 0, 0, at.architecture], [isEqual, 0, rules.length, architecture], ...rules]
  })
  program.push([answer, 0, 0, killed])
  const bytes = Buffer.alloc(program.length * 8)
  for (const [index, [code, ifTrue, ifFalse, k]] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8)
    bytes.writeUInt8(ifTrue, index * 8 + 2)
    bytes.writeUInt8(ifFalse, index * 8 + 3)
    bytes.writeUInt32LE(k, index * 8 + 4)
  }
  return bytes
}
