import { type Findings, type Path, suggest } from './fault.ts'

/** A name that has to be one of these. */
export function checkName(
  kind: string,
  name: string,
  known: readonly string[],
  path: Path,
  findings: Findings,
): void {
  if (known.includes(name)) return
  findings.fault(path, `there is no ${kind} named \`${name}\`${suggest(name, known)}`)
}

/** Names of which each is to be there once. */
export function checkRepeats(names: readonly string[], path: Path, findings: Findings): void {
  for (const [index, name] of names.entries()) {
    if (names.indexOf(name) < index) findings.fault([...path, index], `\`${name}\` is here twice`)
  }
}

/** What a record holds under a name, and not what it inherits. */
export function ownValue<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined
}
