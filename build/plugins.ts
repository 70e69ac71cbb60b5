import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BuiltFile } from './job-files.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const pinned = {
  'gitlab-component': ['templates/access.yml', "HOOP_ACCESS_PINS=''"],
  'jenkins-shim': ['src/access/hoop/HoopSettings.groovy', "PINS = ''"],
} as const

/** The GitLab component's project or the Jenkins library, ready to be published: with the digests of the files that its jobs run. */
export async function writePlugin(
  plugin: keyof typeof pinned,
  outdir: string,
  files: readonly BuiltFile[],
): Promise<void> {
  await rm(outdir, { recursive: true, force: true })
  await cp(join(root, plugin), outdir, { recursive: true })
  const [name, empty] = pinned[plugin]
  const path = join(outdir, name)
  const text = await readFile(path, 'utf8')
  if (text.split(empty).length !== 2) throw new Error(`${plugin}/${name} has not one place for the digests`)
  const pins = files.map((file) => `${file.sha256}:${file.name}`).join(' ')
  await writeFile(path, text.replace(empty, empty.replace("''", `'${pins}'`)))
}
