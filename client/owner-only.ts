import { chmod } from 'node:fs/promises'
import { ClientError } from './error.ts'
import { here, type System, windowsProgram } from './system.ts'

/** Lets nobody but its owner into a folder: by its mode, or on Windows by an access list that what is made in it inherits. */
export async function makeOwnerOnly(path: string, system: System = here): Promise<void> {
  if (system.platform !== 'win32') return chmod(path, 0o700) // mkdir makes it so, and a filter of the file system may not
  try {
    const user = await system.run(windowsProgram('whoami.exe'), ['/user', '/fo', 'csv', '/nh'])
    // "HOST\\name","S-1-5-21-…": names depend on the language of the system, and the SID does not.
    const sid = /"(S-1-[0-9-]+)"\s*$/.exec(user)?.[1]
    if (sid === undefined) throw new Error('whoami names no SID')
    await system.run(windowsProgram('icacls.exe'), [
      path,
      '/inheritance:r',
      '/grant:r',
      `*${sid}:(OI)(CI)F`,
      '/q',
    ])
  } catch (cause) {
    const why = `the folder cannot be made private: ${path}`
    throw new ClientError('bad_home', why, 'use a folder on a file system with access lists (NTFS)', {
      cause,
    })
  }
}
