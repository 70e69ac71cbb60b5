import { readings } from './operations.ts'

// What the groups hold. Only for an early answer, and for a look at a chain after the fact: every level's narrowing is
// applied again when an operation is decided.
const groups: Readonly<Record<string, readonly string[]>> = {
  read: ['select', 'copy-out', 'currval', 'listen', ...readings],
  write: ['insert', 'update', 'delete', 'merge', 'copy-in'],
}
const definition = /^(create|alter|drop|comment)(-[a-z-]+)?$/

/** True when an identity narrowed to `held` (null: not at all) may hand on `wanted` (null: all that it has). */
export function narrows(held: readonly string[] | null, wanted: readonly string[] | null): boolean {
  if (held === null) return true
  return wanted !== null && wanted.every((operation) => covers(held, operation))
}

function covers(held: readonly string[], operation: string): boolean {
  return held.some(
    (one) =>
      one === operation ||
      (one === 'ddl' && definition.test(operation)) ||
      (Object.hasOwn(groups, one) && groups[one]?.includes(operation) === true),
  )
}
