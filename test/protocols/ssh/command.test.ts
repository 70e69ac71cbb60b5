import { describe, expect, test } from 'vitest'
import { readCommand } from '../../../gateway/protocols/ssh/command.ts'

describe('a command that is nothing but words', () => {
  test.each([
    ['systemctl restart shop', ['systemctl', 'restart', 'shop']],
    ['  ls \t -la  ', ['ls', '-la']],
    ["git-upload-pack '/srv/git/shop.git'", ['git-upload-pack', '/srv/git/shop.git']],
    ['echo "two words" \'and two\'', ['echo', 'two words', 'and two']],
    ["echo a'b'c", ['echo', 'abc']],
    ["echo ''", ['echo', '']],
    ['echo \\$HOME', ['echo', '$HOME']],
    ['echo two\\ words', ['echo', 'two words']],
    ["echo '$(id); `id` | > < & *'", ['echo', '$(id); `id` | > < & *']],
    [
      'rsync --server --sender -e.LsfxC . /srv/shop',
      ['rsync', '--server', '--sender', '-e.LsfxC', '.', '/srv/shop'],
    ],
    ["'if' x", ['if', 'x']],
    ['ls a=b', ['ls', 'a=b']],
    ["echo 'größe'", ['echo', 'größe']],
  ])('%s', (text, words) => {
    expect(readCommand(text)).toEqual(words)
  })
})
