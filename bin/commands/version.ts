import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

// The package's folder is one above the built file, and two above this one.
const home = ['../../', '../'].map((path) => new URL(path, import.meta.url)).find(isPackage)

/** The version in package.json. */
export const version: string = home === undefined ? 'unknown' : (nameAndVersion(home)?.version ?? 'unknown')

/** The folder in which the build leaves what the gateway serves to jobs. */
export const jobFiles: string | undefined =
  home === undefined ? undefined : fileURLToPath(new URL('dist/client', home))

function isPackage(folder: URL): boolean {
  return nameAndVersion(folder)?.name === 'hoop-access'
}

function nameAndVersion(folder: URL): { name: string; version: string } | undefined {
  const file = new URL('package.json', folder)
  if (!existsSync(file)) return undefined
  const content: unknown = JSON.parse(readFileSync(file, 'utf8'))
  if (typeof content !== 'object' || content === null || !('name' in content) || !('version' in content))
    return undefined
  const { name, version } = content
  return typeof name === 'string' && typeof version === 'string' ? { name, version } : undefined
}
