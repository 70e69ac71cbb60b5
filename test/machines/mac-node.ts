import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

// Loaded before anything else by the `node` of a Mac that there is none of; see `makeMac`.

const { searchParams } = new URL(import.meta.url)
const { appendFileSync } = fs
Object.defineProperty(process, 'platform', { value: 'darwin' })
// Programs that start themselves again start on the same machine.
process.execPath = searchParams.get('node') ?? ''

/** Throws where a path is one that only Linux has. */
function refuse(path: unknown): void {
  if (typeof path !== 'string' || !/^\/(proc|sys|dev\/shm|run)(\/|$)/.test(path)) return
  appendFileSync(searchParams.get('missed') ?? '', `${path}\n`)
  throw Object.assign(new Error(`ENOENT: no such file or directory, open '${path}'`), {
    code: 'ENOENT',
    path,
  })
}

/** Every function of `holder` that takes a path first refuses one that is not there. */
function guard(holder: object, fail: (error: unknown) => unknown): void {
  for (const [name, call] of Object.entries<unknown>({ ...holder })) {
    if (typeof call !== 'function' || /^[A-Z_]/.test(name)) continue
    const guarded = (...args: readonly unknown[]): unknown => {
      try {
        refuse(args[0])
      } catch (error) {
        return fail(error)
      }
      return Reflect.apply(call, holder, args)
    }
    Reflect.set(holder, name, Object.assign(guarded, call))
  }
}

guard(fs, (error) => {
  throw error
})
guard(fs.promises, (error) => Promise.reject(error))
syncBuiltinESMExports()
