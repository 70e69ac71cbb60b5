import { expect, test } from 'vitest'
import { createDetectors } from '../../../gateway/masking/detectors.ts'
import { mayBeSet } from '../../../gateway/protocols/ssh/environment.ts'
import { Unseen } from '../../../gateway/protocols/ssh/unseen.ts'

test('what is typed after a prompt for a password is kept as stars, up to the end of the line', () => {
  const unseen = new Unseen()
  unseen.output(Buffer.from('[sudo] pass'))
  unseen.output(Buffer.from('word for deploy: '))
  expect(Buffer.from(unseen.input(Buffer.from('hunt'))).toString()).toBe('****')
  expect(Buffer.from(unseen.input(Buffer.from('er2\rls\r'))).toString()).toBe('***\rls\r')
  expect(Buffer.from(unseen.input(Buffer.from('ls\r'))).toString()).toBe('ls\r')
})

test('a prompt leaves after a pause, and a secret that goes on after one is still replaced', () => {
  const stream = createDetectors({ default: true, literals: [] }).createStream()
  const seen = (bytes: Uint8Array): string => Buffer.from(bytes).toString()
  expect(seen(stream.push(Buffer.from('$ AK'))) + seen(stream.pause(16))).toBe('$ AK')
  const rest = seen(stream.push(Buffer.from('IAQ3EGRZKXW7MDPL5T done\n'))) + seen(stream.end())
  expect(rest).toContain('[redacted:')
  expect(rest).not.toContain('MDPL5T')
})

test.each([
  ['LC_ALL', 'de_DE.UTF-8', true],
  ['LANG', 'C', true],
  ['GIT_PROTOCOL', 'version=2', true],
  ['GIT_PROTOCOL', 'version=2;id', false],
  ['LC_ALL', '() { :; }; id', false],
  ['LC_EVIL', 'x', false],
  ['BASH_ENV', '/tmp/x', false],
  ['LD_PRELOAD', '/tmp/x.so', false],
  ['PATH', '/tmp', false],
  ['LANG\n', 'C', false],
])('%j=%j may be set: %s', (name, value, may) => {
  expect(mayBeSet(name, value)).toBe(may)
})
