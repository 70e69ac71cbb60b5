import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { root } from '../servers/gateway.ts'
import { lacks } from '../servers/programs.ts'
import { groovy } from './groovy.ts'

// Each of these Jenkins would refuse, or fail on after a restart of the controller: the check has to be seen finding them.
const unsafe = {
  'a closure given to each': ['def call(List a) { a.each { sh it } }', 'each with a closure'],
  'a GString in a script': ['def call(String a) { sh "echo ${a}" }', 'interpolates'],
  'a Matcher kept': ["def call(String a) { String b = (a =~ 'x')[0]; sh b }", 'Matcher'],
  'a local that cannot be written': ['def call() { def a = foo(); sh a }', 'local of type'],
  'a step in @NonCPS': ["@NonCPS def call() { sh 'x' }", 'step sh outside'],
  '@NonCPS that calls what is not': ['def a() { 1 }\n@NonCPS def call() { a() }', '@NonCPS calls a'],
  'a step in a constructor': ["class A implements Serializable { A() { sh 'x' } }", 'constructor calls sh'],
  'a class that cannot be written': ['class A { int b }', 'not Serializable'],
  'Java’s own HTTP': ["def call() { String a = new URL('http://x').text }", 'new URL'],
  'a process of the controller': ["def call() { 'id'.execute() }", 'execute is refused'],
  'an import of Java': ['import java.net.Socket\ndef call() { 1 }', 'import of java.net.Socket'],
  'entries of a map': ['def call(Map a) { for (Object b : a.entrySet()) { echo b.key } }', 'entrySet'],
} as const

describe.skipIf(lacks('groovy', 'java'))('the shared library', () => {
  let found: Record<string, string[]>

  beforeAll(async () => {
    const files = ['vars/hoopAccess.groovy', 'vars/hoopAsk.groovy', 'src/access/hoop/HoopSettings.groovy']
    const texts = await Promise.all(files.map((file) => readFile(join(root, 'jenkins-shim', file), 'utf8')))
    const own = files.map((file, index) => [file, texts[index]] as const)
    const wrong = Object.entries(unsafe).map(([name, [text]]) => [name, text] as const)
    found = (await groovy('cps-check.groovy', [], Object.fromEntries([...own, ...wrong]))) as typeof found
  })

  test('holds nothing that continuations or the sandbox do not take', () => {
    expect(found['vars/hoopAccess.groovy']).toEqual([])
    expect(found['vars/hoopAsk.groovy']).toEqual([])
    expect(found['src/access/hoop/HoopSettings.groovy']).toEqual([])
  })

  test.for(Object.entries(unsafe))('the check finds %s', ([name, [, fault]]) => {
    expect(found[name]?.join('\n')).toContain(fault)
  })
})
