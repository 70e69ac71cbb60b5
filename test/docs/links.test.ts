import { existsSync } from 'node:fs'
import { posix } from 'node:path'
import { expect, test } from 'vitest'
import { documents, read, root } from './documents.ts'

// A page that sends its reader nowhere is worse than none.

const isThere = (path: string): boolean => existsSync(`${root}${path}`)

/** What GitHub calls a heading in a link. */
const anchorOf = (heading: string): string =>
  heading
    .replaceAll(/\[([^\]]*)\]\([^)]*\)|[`*_]/g, '$1')
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(/\s/g, '-')

const withoutCode = (text: string): string => text.replaceAll(/^( *)```.*?^ *```$/gms, '')

const anchors = (path: string): Set<string> => {
  const text = withoutCode(read(path))
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading))
  return new Set([...headings, ...[...text.matchAll(/<a id="([\w-]+)">/g)].map(([, id = '']) => id)])
}

test.each(documents)('%s leads only where there is something', (page) => {
  const dead: string[] = []
  for (const [, target = ''] of withoutCode(read(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue
    const [file = '', anchor] = target.split('#')
    const path = file === '' ? page : posix.join(posix.dirname(page), file)
    if (!isThere(path) || (anchor !== undefined && !anchors(path).has(anchor))) dead.push(target)
  }
  expect(dead).toEqual([])
})

/** Folders of the project whose files pages name in passing. */
const named =
  /`((?:gateway|client|actions|bin|test|docs|deploy|gitlab-component|jenkins-shim)\/[\w./-]*|\.ci\/[\w./-]+)`/g

test.each(documents)('%s names only files that are there', (page) => {
  const gone = [...read(page).matchAll(named)].flatMap(([, path = '']) => (isThere(path) ? [] : [path]))
  expect(gone).toEqual([])
})

test('README leads to every page of the guide', () => {
  const reached = new Set<string>()
  const visit = (page: string): void => {
    if (reached.has(page)) return
    reached.add(page)
    for (const [, target = ''] of withoutCode(read(page)).matchAll(/\]\(([^)\s#]+\.md)/g))
      if (!/^[a-z]+:/.test(target)) visit(posix.join(posix.dirname(page), target))
  }
  visit('README.md')
  expect(documents.filter((page) => page.startsWith('docs/guide/') && !reached.has(page))).toEqual([])
})
