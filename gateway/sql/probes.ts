import { mergeShape, origin, type Shape } from './origin.ts'
import type { Reader } from './reader.ts'

/** Marks every column of the shape as used where it leaks. */
export function probeShape(reader: Reader, shape: Shape): void {
  const all = origin()
  mergeShape(all, shape)
  reader.facts.probe(all)
}

/** A cycle ends where a row comes again: how many rows there are tells of what is compared. */
export function probeColumns(reader: Reader, shape: Shape, names: readonly string[]): void {
  for (const name of names) {
    const known = shape.columns.filter((column) => column.name === name)
    for (const column of known) reader.facts.probe(column.origin)
    if (known.length === 0) probeShape(reader, shape)
  }
}
