import { existsSync, readFileSync } from 'node:fs'

/** The version in package.json, which lies one folder above the built file and two above this one. */
export const version: string = readVersion()

function readVersion(): string {
  for (const path of ['../../package.json', '../package.json']) {
    const file = new URL(path, import.meta.url)
    if (!existsSync(file)) continue
    const content: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (
      typeof content !== 'object' ||
      content === null ||
      !('name' in content) ||
      content.name !== 'hoop-access'
    )
      continue
    if ('version' in content && typeof content.version === 'string') return content.version
  }
  return 'unknown'
}
