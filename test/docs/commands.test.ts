import { Command } from 'commander'
import { expect, test } from 'vitest'
import { commands } from '../../bin/commands.ts'
import { documents, read } from './documents.ts'

// What pages tell people to type is there: every command, and every option of it.

const program = new Command('hoop-access').enablePositionalOptions()
for (const add of commands) add(program)

const below = (command: Command, name: string | undefined): Command | undefined =>
  command.commands.find((one) => one.name() === name)

/** What is wrong with the words behind `hoop-access`, or null. */
function wrong(line: string): string | null {
  const words = line.replace(/ -- .*$/s, '').split(/\s+/)
  let command: Command = program
  for (let next = below(command, words[0]); next !== undefined; next = below(command, words[0])) {
    command = next
    words.shift()
  }
  if (command === program || (command.commands.length > 0 && /^[a-z]/.test(words[0] ?? '')))
    return `there is no command ${words[0]}`
  const known = new Set(['--help', ...command.options.map(({ long }) => long)])
  for (const [option] of words.join(' ').matchAll(/--[a-z-]+/g))
    if (!known.has(option)) return `${command.name()} has no ${option}`
  return null
}

/** Lines of a page that call the executable: up to what ends a command in a shell, in prose, or in a file. */
const called = /(?<![\w/.-])hoop-access ((?!recording |names |gateway is)[a-z]+(?: [^`|)>;#\n]*)?)/g

test.each(documents)('%s: every command that it names is one', (page) => {
  const faults = [...read(page).matchAll(called)].flatMap(([all, line = '']) => {
    const fault = wrong(line)
    return fault === null ? [] : [`${all}: ${fault}`]
  })
  expect(faults).toEqual([])
})

test('the page of the command line has every command and every option', () => {
  const page = read('docs/guide/command-line.md')
  const missing: string[] = []
  const visit = (command: Command, way: string): void => {
    for (const one of command.createHelp().visibleCommands(command)) {
      const name = `${way}${one.name()}`
      if (one.name() !== 'help' && !new RegExp(`\\b${one.name()}\\b`).test(page)) missing.push(name)
      for (const { long } of one.options)
        if (long !== undefined && !new RegExp(`${long}(?![\\w-])`).test(page)) missing.push(`${name} ${long}`)
      visit(one, `${name} `)
    }
  }
  visit(program, '')
  expect(missing).toEqual([])
})
