import { execFileSync } from 'node:child_process'
import { parseEnv } from 'node:util'
import { describe, expect, test } from 'vitest'
import { formatEnvironment } from '../../client/environment.ts'

const nasty = {
  PLAIN: '/tmp/hoop-abc/ca.pem',
  SPACES: ' a  b ',
  QUOTES: `it's "quoted"`,
  BACKTICKS: '`id` $(id) ${HOME} $HOME',
  SHELL_ENDS: `'; echo pwned; '`,
  BACKSLASHES: 'C:\\hoop\\new\\',
  LINES: 'one\ntwo\n',
  HASH: 'a #b',
  EMPTY: '',
  UNICODE: 'schön ’ ‘',
  BANG: '!!',
  PERCENT: '%PATH% %0A',
}

describe('variables as text', () => {
  test('sh reads back exactly these values', () => {
    const script = `${formatEnvironment(nasty, 'sh')}\nexec node -e 'process.stdout.write(JSON.stringify(process.env))'`
    const seen: unknown = JSON.parse(
      execFileSync('/bin/sh', ['-c', script], { encoding: 'utf8', env: { PATH: process.env.PATH } }),
    )
    expect(seen).toMatchObject(nasty)
  })

  test('bash does, too', () => {
    const script = `set -H; ${formatEnvironment(nasty, 'sh')}\nexec node -e 'process.stdout.write(JSON.stringify(process.env))'`
    const seen: unknown = JSON.parse(
      execFileSync('bash', ['-c', script], { encoding: 'utf8', env: { PATH: process.env.PATH } }),
    )
    expect(seen).toMatchObject(nasty)
  })

  test('dotenv reads back exactly these values', () => {
    expect(parseEnv(formatEnvironment(nasty, 'dotenv'))).toEqual(nasty)
  })

  test('json', () => {
    expect(JSON.parse(formatEnvironment(nasty, 'json'))).toEqual(nasty)
  })

  test('PowerShell strings end at no kind of single quote', () => {
    expect(formatEnvironment({ A: `it's`, B: '‘x’', C: '$env:X' }, 'powershell')).toBe(
      `$env:A = 'it''s'\n$env:B = '‘‘x’’'\n$env:C = '$env:X'\n`,
    )
  })

  test('docker takes the rest of the line, so lines cannot be said', () => {
    expect(formatEnvironment({ A: `it's "so" #1` }, 'docker')).toBe(`A=it's "so" #1\n`)
    expect(() => formatEnvironment({ A: 'one\nB=two' }, 'docker')).toThrow(/cannot be written/)
  })

  test('what dotenv cannot say is refused rather than said wrongly', () => {
    expect(() => formatEnvironment({ A: `'"\`` }, 'dotenv')).toThrow(/cannot be written/)
  })

  test.for(['A;id', '1A', 'A B', '', 'A=B'])('the name %j is refused', (name) => {
    expect(() => formatEnvironment({ [name]: 'x' }, 'sh')).toThrow(/cannot be a variable/)
  })
})
