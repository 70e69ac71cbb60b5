import { cp, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type BuiltFile, buildJobFiles } from '../../build/job-files.ts'
import { writePlugin } from '../../build/plugins.ts'

/** The executables for jobs, as a release builds them, and the plugins that pin them. */
export interface BuiltPlugins {
  readonly files: readonly BuiltFile[]
  /** The GitLab component's project. */
  readonly component: string
  /** The Jenkins library. */
  readonly library: string
  /** Makes a gateway with this data folder have the files; before it starts. */
  offer(data: string): Promise<void>
}

/** Builds them into a folder; those with a Node of their own only when asked for (half a minute). */
export async function buildPlugins(folder: string, selfContained = false): Promise<BuiltPlugins> {
  const built = join(folder, 'client')
  const files = await buildJobFiles(built, { selfContained })
  const [component, library] = [join(folder, 'component'), join(folder, 'library')]
  await writePlugin('gitlab-component', component, files)
  await writePlugin('jenkins-shim', library, files)
  return {
    files,
    component,
    library,
    async offer(data) {
      await mkdir(join(data, 'client'), { recursive: true, mode: 0o700 })
      for (const { sha256, name } of files)
        await cp(join(built, name), join(data, 'client', `${sha256}-${name}`))
    },
  }
}
