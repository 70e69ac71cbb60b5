import { existsSync } from 'node:fs'
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

const KEPT = 32

/**
 * Reads what the build left in `built`, and keeps a copy in `kept` (which may hold others, put there by an operator as
 * `SHA256-NAME`), so that a plugin goes on working with its own version's file when the gateway is newer.
 */
export async function openJobFiles(built: string | undefined, kept: string): Promise<JobFiles> {
  const current = built === undefined ? [] : await readIndex(built)
  await mkdir(kept, { recursive: true, mode: 0o700 })
  for (const file of current) await keep(file, kept)
  const others = await readKept(kept)
  for (const { path } of others.splice(KEPT)) await rm(path, { force: true })
  const known = new Map([...others, ...current].map((file) => [`${file.sha256}/${file.name}`, file]))
  return { current, find: (sha256, name) => known.get(`${sha256}/${name}`) }
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
  if ((await stat(target).catch(() => null))?.size === size) return
  const draft = `${target}.${process.pid}.new`
  await copyFile(path, draft)
  await rename(draft, target)
}

/** Newest first. */
async function readKept(folder: string): Promise<JobFile[]> {
  const found: (JobFile & { at: number })[] = []
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const [, sha256, name] = /^([0-9a-f]{64})-(hoop-access[a-z0-9.-]*)$/.exec(entry.name) ?? []
    if (!entry.isFile() || sha256 === undefined || name === undefined) continue
    const path = join(folder, entry.name)
    if (name.endsWith('.new')) {
      // A copy that was interrupted.
      await rm(path, { force: true })
      continue
    }
    const { size, mtimeMs: at } = await stat(path)
    found.push({ name, sha256, size, path, at })
  }
  return found.sort((one, other) => other.at - one.at)
}
