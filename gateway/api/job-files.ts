import { existsSync, lstatSync } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** A file that jobs may fetch. */
export interface JobFile {
  readonly name: string
  /** Hexadecimal. */
  readonly sha256: string
  /** Bytes. */
  readonly size: number
  readonly path: string
}

/** The executables for jobs: those of this version, and of versions that ran here before, which plugins may still pin. */
export interface JobFiles {
  /** Those of this version. */
  readonly current: readonly JobFile[]
  /** The file of this digest, of whatever version. */
  find(sha256: string, name: string): JobFile | undefined
}

/** No files: of a gateway that was not built. */
export const noJobFiles: JobFiles = { current: [], find: () => undefined }

/** Of each name. */
const KEPT = 16
const names = /^hoop-access[\w.+-]{0,128}$/

/**
 * Reads what the build left in `built`, and keeps a copy in `kept` (to which an operator may add others at any time, as
 * `SHA256-NAME`), so that a plugin goes on working with its own version's file when the gateway is newer.
 */
export async function openJobFiles(built: string | undefined, kept: string): Promise<JobFiles> {
  const current = built === undefined ? [] : await readIndex(built)
  await mkdir(kept, { recursive: true, mode: 0o700 })
  for (const file of current) await keep(file, kept)
  await sweep(kept)
  return {
    current,
    find: (sha256, name) =>
      current.find((file) => file.sha256 === sha256 && file.name === name) ?? findKept(kept, sha256, name),
  }
}

function findKept(folder: string, sha256: string, name: string): JobFile | undefined {
  if (!/^[0-9a-f]{64}$/.test(sha256) || !names.test(name) || name.endsWith('.new')) return undefined
  const path = join(folder, `${sha256}-${name}`)
  const found = lstatSync(path, { throwIfNoEntry: false })
  return found?.isFile() === true ? { name, sha256, size: found.size, path } : undefined
}

async function readIndex(folder: string): Promise<JobFile[]> {
  const file = join(folder, 'index.json')
  // A checkout that was not built has none; one that cannot be read is a fault.
  const index: unknown = existsSync(file) ? JSON.parse(await readFile(file, 'utf8')) : []
  if (!Array.isArray(index)) return []
  return index.filter(isBuilt).map((file) => ({ ...file, path: join(folder, file.name) }))
}

function isBuilt(value: unknown): value is Omit<JobFile, 'path'> {
  if (typeof value !== 'object' || value === null) return false
  const { name, sha256, size } = { name: null, sha256: null, size: null, ...value }
  return (
    typeof name === 'string' &&
    typeof sha256 === 'string' &&
    typeof size === 'number' &&
    /^[\w.-]+$/.test(name)
  )
}

/** By a draft, so that a copy that was interrupted is never served. */
async function keep({ sha256, name, path, size }: JobFile, folder: string): Promise<void> {
  const target = join(folder, `${sha256}-${name}`)
  const kept = await stat(target).catch(() => null) // writing it anew says what is wrong with the folder
  if (kept?.size === size) return
  const draft = `${target}.${process.pid}.new`
  await copyFile(path, draft)
  await rename(draft, target)
}

/** Removes what was interrupted, and of each name all but the newest. */
async function sweep(folder: string): Promise<void> {
  const found: { path: string; name: string; at: number }[] = []
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const [, name = ''] = /^[0-9a-f]{64}-(.*)$/.exec(entry.name) ?? []
    if (!entry.isFile() || !names.test(name)) continue
    const path = join(folder, entry.name)
    if (name.endsWith('.new')) await rm(path, { force: true })
    else found.push({ path, name, at: (await stat(path)).mtimeMs })
  }
  const byName = Map.groupBy(
    found.toSorted((one, other) => other.at - one.at),
    ({ name }) => name,
  )
  for (const { path } of [...byName.values()].flatMap((files) => files.slice(KEPT))) {
    await rm(path, { force: true })
  }
}
