/**
 * Makes a WebAssembly module (WebAssembly Core Specification 3.0 §5, binary format) of its text form (§6), as far as a
 * scan of bytes needs it: one memory, exported functions of 32-bit numbers and 128-bit vectors, folded instructions,
 * every block without a result. Throws for anything else: the text is the project's own.
 */
export function assemble(text: string): Uint8Array<ArrayBuffer> {
  const [module, ...rest] = parse(text)
  if (!Array.isArray(module) || module[0] !== 'module' || rest.length > 0) throw unknown('module')
  const functions: Function[] = []
  let pages = 0
  for (const field of module.slice(1)) {
    if (!Array.isArray(field)) throw unknown(field)
    if (field[0] === 'memory') pages = Number(field[2])
    else if (field[0] === 'func') functions.push(readFunction(field))
    else throw unknown(field[0])
  }
  const exports = [
    [...name('memory'), 0x02, 0x00],
    ...functions.map((one, index) => [...name(one.name), 0x00, ...unsigned(index)]),
  ]
  return new Uint8Array([
    0x00,
    0x61,
    0x73,
    0x6d,
    0x01,
    0x00,
    0x00,
    0x00,
    ...section(1, list(functions.map((one) => one.type))),
    ...section(3, list(functions.map((_, index) => unsigned(index)))),
    ...section(5, list([[0x00, ...unsigned(pages)]])),
    ...section(7, list(exports)),
    ...section(10, list(functions.map((one) => [...unsigned(one.body.length), ...one.body]))),
  ])
}

type Expression = string | Expression[]

interface Function {
  readonly name: string
  readonly type: readonly number[]
  readonly body: readonly number[]
}

/** Code of each instruction; those without parentheses in their text form (labels, numbers) are immediates. */
const plain: Readonly<Record<string, readonly number[]>> = {
  'i32.eqz': [0x45],
  'i32.eq': [0x46],
  'i32.lt_u': [0x49],
  'i32.ge_u': [0x4f],
  'i32.ctz': [0x68],
  'i32.add': [0x6a],
  'i32.sub': [0x6b],
  'i32.mul': [0x6c],
  'i32.and': [0x71],
  'i32.or': [0x72],
  'i32.xor': [0x73],
  'i32.shr_u': [0x76],
  'i8x16.relaxed_swizzle': [0xfd, 0x80, 0x02],
  'i8x16.splat': [0xfd, 0x0f],
  'i8x16.eq': [0xfd, 0x23],
  'i8x16.lt_u': [0xfd, 0x26],
  'v128.and': [0xfd, 0x4e],
  'v128.or': [0xfd, 0x50],
  'v128.any_true': [0xfd, 0x53],
  'i8x16.bitmask': [0xfd, 0x64],
  'i8x16.shr_u': [0xfd, 0x6d],
  'i8x16.sub': [0xfd, 0x71],
}
const indexed: Readonly<Record<string, number>> = { 'local.get': 0x20, 'local.set': 0x21, 'local.tee': 0x22 }
const memory: Readonly<Record<string, readonly number[]>> = {
  'i32.load': [0x28],
  'i32.load8_u': [0x2d],
  'i32.store': [0x36],
  'v128.load': [0xfd, 0x00],
}
const types: Readonly<Record<string, number>> = { i32: 0x7f, v128: 0x7b }
const [BLOCK, LOOP, IF, END, BR, BR_IF, CONST, NO_RESULT] = [0x02, 0x03, 0x04, 0x0b, 0x0c, 0x0d, 0x41, 0x40]

/** `(func (export "NAME") (param $name type)… (result type) (local $name type)… instruction…)` */
function readFunction(field: readonly Expression[]): Function {
  const params: number[] = []
  const results: number[] = []
  const locals: number[] = []
  const names: string[] = []
  const code: number[] = []
  let exported = ''
  for (const part of field.slice(1)) {
    if (!Array.isArray(part)) throw unknown(part)
    const [kind, first, second] = part
    if (kind === 'export') exported = word(first).slice(1, -1)
    else if (kind === 'result') results.push(typeOf(first))
    else if (kind === 'param' || kind === 'local') {
      names.push(word(first))
      ;(kind === 'param' ? params : locals).push(typeOf(second))
    } else code.push(...instruction(part, names, []))
  }
  const body = [...list(locals.map((type) => [1, type])), ...code, END]
  return {
    name: exported,
    type: [0x60, ...list(params.map((p) => [p])), ...list(results.map((r) => [r]))],
    body,
  }
}

/** One folded instruction: what it works on comes first. `labels` are the blocks around it, the innermost first. */
function instruction(
  expression: Expression,
  names: readonly string[],
  labels: readonly string[],
): readonly number[] {
  if (!Array.isArray(expression)) throw unknown(expression)
  const op = word(expression[0])
  const all = (parts: readonly Expression[], around = labels): number[] =>
    parts.flatMap((part) => instruction(part, names, around))
  const parts = expression.slice(1)
  const [first] = parts
  const simple = plain[op]
  if (simple !== undefined) return [...all(parts), ...simple]
  const local = indexed[op]
  if (local !== undefined) {
    const index = names.indexOf(word(first))
    if (index === -1) throw unknown(first)
    return [...all(parts.slice(1)), local, ...unsigned(index)]
  }
  const access = memory[op]
  if (access !== undefined) {
    const offset = typeof first === 'string' ? Number(first.replace('offset=', '')) : 0
    return [...all(parts.filter((part) => typeof part !== 'string')), ...access, 0, ...unsigned(offset)]
  }
  switch (op) {
    case 'i8x16.shuffle':
      return [...all(parts.slice(16)), 0xfd, 0x0d, ...parts.slice(0, 16).map(Number)]
    case 'i32.const':
      return [CONST, ...signed(Number(first))]
    case 'block':
    case 'loop': {
      const code = all(parts.slice(1), [word(first), ...labels])
      return [op === 'block' ? BLOCK : LOOP, NO_RESULT, ...code, END]
    }
    case 'if': {
      const [condition = '', then = []] = parts
      if (!Array.isArray(then) || then[0] !== 'then' || parts.length > 2) throw unknown(op)
      return [
        ...instruction(condition, names, labels),
        IF,
        NO_RESULT,
        ...all(then.slice(1), ['', ...labels]),
        END,
      ]
    }
    case 'br':
    case 'br_if': {
      const depth = labels.indexOf(word(first))
      if (depth === -1) throw unknown(first)
      return [...all(parts.slice(1)), op === 'br' ? BR : BR_IF, ...unsigned(depth)]
    }
    default:
      throw unknown(op)
  }
}

/** Nested lists of words; `;; …` is a comment. */
function parse(text: string): Expression[] {
  const top: Expression[] = []
  const stack: Expression[][] = [top]
  for (const [token] of text.replaceAll(/;;.*/g, '').matchAll(/[()]|[^\s()]+/g)) {
    if (token === '(') {
      const inner: Expression[] = []
      stack.at(-1)?.push(inner)
      stack.push(inner)
    } else if (token === ')') stack.pop()
    else stack.at(-1)?.push(token)
  }
  if (stack.length !== 1) throw unknown('unbalanced parentheses')
  return top
}

function word(expression: Expression | undefined): string {
  if (typeof expression !== 'string') throw unknown(expression)
  return expression
}

function typeOf(expression: Expression | undefined): number {
  const type = types[word(expression)]
  if (type === undefined) throw unknown(expression)
  return type
}

function unknown(what: unknown): Error {
  return new Error(`not in the assembler's part of WebAssembly's text: ${JSON.stringify(what)}`)
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...unsigned(content.length), ...content]
}

function list(items: readonly (readonly number[])[]): number[] {
  return [...unsigned(items.length), ...items.flat()]
}

function name(text: string): number[] {
  return list([...Buffer.from(text)].map((byte) => [byte]))
}

/** LEB128 (§5.2.2). */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)]
}

function signed(value: number): number[] {
  const low = value & 0x7f
  const rest = value >> 7
  const over = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)
  return over ? [low] : [low | 0x80, ...signed(rest)]
}
