import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BuiltFile } from './job-files.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const places = {
  'gitlab-component': {
    files: ['templates/access.yml', 'templates/approval.yml'],
    pins: "HOOP_ACCESS_PINS=''",
  },
  'jenkins-shim': { files: ['src/access/hoop/HoopSettings.groovy'], pins: "PINS = ''" },
} as const
/** What the Jenkins library has as a resource, and GitLab's jobs have in them: GitLab includes no scripts. */
const script = await readFile(join(root, 'jenkins-shim/resources/access/hoop/fetch.sh'), 'utf8')

/**
 * The GitLab component's project or the Jenkins library, ready to be published: with the digests of the files that its jobs
 * run, and the script that fetches them.
 */
export async function writePlugin(
  plugin: keyof typeof places,
  outdir: string,
  files: readonly BuiltFile[],
): Promise<void> {
  await rm(outdir, { recursive: true, force: true })
  await cp(join(root, plugin), outdir, { recursive: true })
  const pins = files.map((file) => `${file.sha256}:${file.name}`).join(' ')
  const { files: names, pins: empty } = places[plugin]
  for (const name of names) {
    const path = join(outdir, name)
    const pinned = fill(await readFile(path, 'utf8'), empty, empty.replace("''", `'${pins}'`))
    await writeFile(path, plugin === 'gitlab-component' ? withScript(pinned) : pinned)
  }
}

function withScript(template: string): string {
  const [, indent = ''] = /^( *)# \{\{ fetch\.sh \}\}$/m.exec(template) ?? []
  return fill(template, `${indent}# {{ fetch.sh }}`, script.trimEnd().replaceAll(/^(?=.)/gm, indent))
}

function fill(text: string, place: string, content: string): string {
  const [before, after, ...more] = text.split(place)
  if (before === undefined || after === undefined || more.length > 0)
    throw new Error(`a plugin has not one place for ${place}`)
  return before + content + after
}
