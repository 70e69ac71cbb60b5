import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Where the project lies. */
export const root = fileURLToPath(new URL('../../', import.meta.url))

/** The pages that people read, by their paths from the root. */
export const documents: readonly string[] = globSync(
  ['*.md', 'docs/**/*.md', 'gitlab-component/**/*.md', 'jenkins-shim/**/*.md'],
  { cwd: root },
).sort()

export const read = (path: string): string => readFileSync(new URL(path, `file://${root}`), 'utf8')

/** The fenced blocks of one language in a page, without the indentation that a list gives them. */
export function blocksOf(path: string, language: string): string[] {
  return [...read(path).matchAll(/^( *)```(\w*)\n(.*?)^ *```$/gms)].flatMap(
    ([, indent = '', of, block = '']) =>
      of === language ? [block.replaceAll(new RegExp(`^${indent}`, 'gm'), '')] : [],
  )
}
