import { mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { compileBelow } from '../../gateway/policy/pattern.ts'
import { RsyncOpening } from '../../gateway/protocols/ssh/rsync-opening.ts'
import { readRsync } from '../../gateway/protocols/ssh/transfer-command.ts'
import { type SshJob, type SshStack, startSshStack } from '../flows/ssh-stack.ts'
import { lacks } from '../servers/programs.ts'

const root = `/tmp/hoop-rsync-${process.pid}`
const flags = '-logDtpre.iLsfxCIvu'

describe('commands that only look like rsync’s server', () => {
  test.each([
    `rsync --server ${flags} --log-file=/etc/cron.d/x . /up`,
    `rsync --server ${flags} --backup-dir=/etc . /up`,
    `rsync --server ${flags} --temp-dir=/etc . /up`,
    `rsync --server ${flags} --partial-dir=/etc . /up`,
    `rsync --server ${flags} --link-dest=/etc . /up`,
    `rsync --server ${flags} --compare-dest=/etc . /up`,
    `rsync --server ${flags} --copy-dest /etc . /up`,
    `rsync --server ${flags} --inplace . /up`,
    `rsync --server ${flags} --append . /up`,
    `rsync --server ${flags} --write-devices . /up`,
    `rsync --server ${flags} --super . /up`,
    `rsync --server ${flags} --fake-super . /up`,
    `rsync --server ${flags} --keep-dirlinks . /up`,
    `rsync --server --sender ${flags} --copy-unsafe-links . /pub`,
    `rsync --server --sender ${flags} --files-from=- . /pub`,
    `rsync --server --sender ${flags} --files-from=/etc/shadow . /pub`,
    `rsync --server --sender ${flags} --remove-source-files . /pub`,
    'rsync --server --sender -Lre.iLsfxCIvu . /pub',
    'rsync --server --sender -kre.iLsfxCIvu . /pub',
    'rsync --server -Kre.iLsfxCIvu . /up',
    'rsync --server -Rre.iLsfxCIvu . /up',
    'rsync --server -sre.iLsfxCIvu . /up',
    'rsync --server -Xre.iLsfxCIvu . /up',
    'rsync --server -Are.iLsfxCIvu . /up',
    'rsync --server -re.iLsfxCI . /up',
    'rsync --server -r . /up',
    'rsync --server -e sh . /up',
    'rsync --server --daemon .',
    'rsync --server --config=/tmp/x --daemon .',
    `rsync --server ${flags} . /up /etc`,
    `rsync --server ${flags} .`,
    `rsync --server ${flags} /up`,
    `rsync --server ${flags} . ''`,
    `rsync --server ${flags} . /up; id`,
    `rsync --server --sender ${flags} . /pub/*`,
    `rsync --server --sender ${flags} . ~root`,
    `rsync --sender --server ${flags} . /pub`,
    `rsync ${flags} --server . /up`,
    `env rsync --server ${flags} . /up`,
    `/tmp/rsync --server ${flags} . /up`,
    `rsync -e id --server ${flags} . /up`,
  ])('%j is a command like any other', (command) => {
    expect(readRsync(command)).toBeNull()
  })

  test('what is written again takes no devices and no links that lead out', () => {
    expect(readRsync(`rsync --server ${flags} --delete . /up/`)?.at(['/srv/up/'])).toBe(
      `rsync --server ${flags} --delete --no-D --safe-links . '/srv/up/'`,
    )
    expect(readRsync(`rsync --server --sender ${flags} . a b`)?.at(['/a', '/b'])).toBe(
      `rsync --server --sender ${flags} . '/a' '/b'`,
    )
    expect(readRsync(`rsync --server ${flags} . /up`)?.at(["/it's"])).toBeNull()
  })
})

describe('how rsync begins', () => {
  const int = (value: number): Buffer => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value >>> 0)
    return bytes
  }
  const frame = (payload: Buffer, tag = 7): Buffer =>
    Buffer.concat([int((tag << 24) | payload.length), payload])
  const rules = (...list: string[]): Buffer =>
    Buffer.concat([...list.flatMap((rule) => [int(rule.length), Buffer.from(rule, 'latin1')]), int(0)])
  const names = Buffer.concat([Buffer.of(5), Buffer.from('xxh64')])
  const host = Buffer.concat([int(31), Buffer.of(0x81, 0xff), Buffer.from('rest')])
  const begin = (list: Buffer, opening = new RsyncOpening(1)): Buffer => {
    const out = [opening.client(int(31))]
    opening.host(host)
    out.push(opening.client(names), opening.client(list))
    return Buffer.concat(out)
  }

  test('plain patterns pass as they came, however they are cut', () => {
    const list = Buffer.concat([frame(rules('- *.o', '+ /a b', '-/ /x', '-p .git')), Buffer.from('more')])
    expect(begin(list)).toEqual(Buffer.concat([int(31), names, list]))
    for (let at = 1; at < list.length; at++) {
      const opening = new RsyncOpening(1)
      const first = begin(list.subarray(0, at), opening)
      expect(Buffer.concat([first, opening.client(list.subarray(at))])).toEqual(
        Buffer.concat([int(31), names, list]),
      )
    }
    const split = rules('- *.o', '+ x')
    const frames = Buffer.concat([frame(split.subarray(0, 7)), frame(split.subarray(7))])
    expect(begin(frames)).toEqual(Buffer.concat([int(31), names, frames]))
  })

  test('nothing passes before the host has said what it speaks, nor a list that is not whole', () => {
    const opening = new RsyncOpening(1)
    expect(opening.client(Buffer.concat([int(31), names, frame(rules())]))).toEqual(int(31))
    const list = frame(rules('- x'))
    expect(begin(list.subarray(0, list.length - 1))).toEqual(Buffer.concat([int(31), names]))
  })

  test.each(
    [
      '. /etc/shadow',
      'merge /etc/shadow',
      ': /etc/shadow',
      'dir-merge /etc/shadow',
      ':C',
      '-C',
      '.- /etc/shadow',
      'hide x',
      'P x',
      '-x- y',
      'x'.repeat(5000),
      '- a\0b',
      '',
    ].filter((rule) => rule !== ''),
  )('the filter %j is refused', (rule) => {
    expect(() => begin(frame(rules('- *.o', rule)))).toThrow('this is not how rsync begins')
  })

  test('old and unknown versions, other frames and a list without end are refused', () => {
    expect(() => new RsyncOpening(1).client(int(30))).toThrow('version 30')
    expect(() => new RsyncOpening(1).client(Buffer.from('@RSYNCD: 31.0\n'))).toThrow('version')
    expect(() => begin(frame(rules(), 9))).toThrow('something else')
    const older = new RsyncOpening(1)
    older.client(int(31))
    older.host(Buffer.concat([int(29), Buffer.of(0x81, 0xff)]))
    expect(() => older.client(names)).toThrow('version 29')
    const endless = new RsyncOpening(1)
    begin(Buffer.alloc(0), endless)
    expect(() => {
      for (let n = 0; n < 300; n++)
        endless.client(frame(Buffer.concat([int(4000), Buffer.alloc(4000, '- x')])))
    }).toThrow()
  })
})

describe('all that is below a folder', () => {
  test.each([
    ['/a/**', '/a', true, true],
    ['/a/**', '/a/b', true, true],
    ['/a/*', '/a', false, true],
    ['/a/*/**', '/a', false, true],
    ['/a/*/**', '/a/b', true, true],
    ['/a/b', '/a', false, true],
    ['/a/**/secret', '/a', false, true],
    ['/a/**/secret', '/b', false, false],
    ['/a/b*/x', '/a/bc', false, true],
    ['/a/b*/x', '/a/cb', false, false],
    ['/b/**', '/a', false, false],
    ['/ab/**', '/a', false, false],
    ['/a', '/a/b', false, false],
    ['**', '/a', true, true],
    ['*', '/a', true, true],
    ['**.key', '/a', false, true],
    ['/**', '', true, true],
  ])('%s about %s: all %s, some %s', (pattern, folder, all, some) => {
    const below = compileBelow(pattern)
    expect([below.all(folder), below.some(folder)]).toEqual([all, some])
  })
})

describe.skipIf(lacks('ssh', 'sshd'))('rsync where rules on paths allow it', () => {
  let stack: SshStack
  let job: SshJob
  const at = (name: string): string => join(root, name)
  beforeAll(async () => {
    stack = await startSshStack({
      stages: `
  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269", ref: "refs/heads/**" } }]
    grants:
      - connection: web-1
        allow:
          - { operations: [sftp-read], resources: ["${root}/pub", "${root}/pub/**"] }
          - { operations: [sftp-read, sftp-write], resources: ["${root}/up", "${root}/up/**"] }
          - { operations: [sftp-write], resources: ["${root}/blind", "${root}/blind/**"] }
        deny: [{ operations: [sftp-read], resources: ["${root}/pub/inner/secret"] }]
`,
    })
    job = await stack.open('test')
  })
  beforeEach(async () => {
    await rm(root, { recursive: true, force: true })
    for (const folder of ['pub/open', 'pub/inner', 'up', 'blind', 'private', 'local'])
      await mkdir(at(folder), { recursive: true })
    await writeFile(at('private/key'), 'the key\n')
    await writeFile(at('pub/open/hello'), 'hello\n')
    await writeFile(at('pub/inner/secret'), 'the secret\n')
    await writeFile(at('local/new'), 'new\n')
    await symlink(at('private'), at('pub/door'))
    await symlink(at('private'), at('up/door'))
  })
  afterAll(async () => {
    await stack.close()
    await rm(root, { recursive: true, force: true })
  })
  const rsync = (...args: string[]): ReturnType<SshJob['with']> =>
    job.with('rsync', ['-e', `ssh -F ${job.home}/ssh_config`, ...args])

  test('it copies both ways, and again', async () => {
    const options = ['-avz', '--delete', '--exclude=*.o']
    expect(await rsync(...options, `${at('local')}/`, `web-1:${at('up/42')}`)).toMatchObject({ code: 0 })
    expect(await readFile(at('up/42/new'), 'utf8')).toBe('new\n')
    expect(await rsync(...options, `${at('local')}/`, `web-1:${at('up/42/')}`)).toMatchObject({ code: 0 })
    const down = await rsync('-a', '--exclude=x', `web-1:${at('pub/open')}`, at('local/back'))
    expect(down).toMatchObject({ code: 0, err: '' })
    expect(await readFile(at('local/back/open/hello'), 'utf8')).toBe('hello\n')
    expect(await rsync('-a', `web-1:${at('pub/open/')}`, at('local/in'))).toMatchObject({ code: 0 })
    expect(await readdir(at('local/in'))).toEqual(['hello'])
  }, 60_000)

  test.each([
    ['a folder that no rule names', 'private'],
    ['a folder in which a rule denies something', 'pub'],
    ['the folder of the denied file', 'pub/inner'],
    ['the way up and out', 'pub/../private'],
    ['a link to a folder, with a slash', 'pub/door/'],
    ['a file behind a link', 'pub/door/key'],
    ['a folder that may be written only', 'blind'],
  ])('%s is not given', async (_what, path) => {
    const ran = await rsync('-a', `web-1:${at(path)}`, at('local/stolen'))
    expect(ran.code).not.toBe(0)
    expect(ran.err).toContain('hoop-access: ')
    await expect(readdir(at('local/stolen'))).rejects.toThrow(/ENOENT/)
    expect((await stack.records('request')).at(-1)).toMatchObject({ effect: 'deny' })
  })

  test.each([
    ['private', 'a folder that no rule names'],
    ['pub/open', 'a folder that may be read only'],
    ['blind', 'a folder that may not be read: it would be compared'],
    ['up/door', 'a link that leads out'],
    ['up/door/', 'a link that leads out, with a slash'],
    ['up/../private', 'the way up and out'],
  ])('into %s (%s) nothing is written', async (path) => {
    const ran = await rsync('-a', `${at('local')}/`, `web-1:${at(path)}`)
    expect(ran.code).not.toBe(0)
    expect(ran.err).toContain('hoop-access: ')
    expect(await readdir(at('private'))).toEqual(['key'])
    expect(await readdir(at('pub/open'))).toEqual(['hello'])
    expect(await readdir(at('blind'))).toEqual([])
  })

  test.each([
    ['-C', 'no rule of stage test allows exec'],
    ['--filter=:C', 'a filter that is no plain pattern'],
    ['-F', 'a filter that is no plain pattern'],
    ['--filter=: /etc/shadow', 'a filter that is no plain pattern'],
    ['-L', 'no rule of stage test allows exec'],
    ['--copy-unsafe-links', 'no rule of stage test allows exec'],
    ['--remove-source-files', 'no rule of stage test allows exec'],
  ])('%s, which leads out, is refused', async (option, why) => {
    const ran = await rsync('-a', option, `web-1:${at('pub/open/')}`, at('local/stolen'))
    expect(ran.code).not.toBe(0)
    expect(ran.err).toContain(why)
  })

  test('links that lead out are not made, and what is below one of the host’s is not written', async () => {
    await symlink('/etc/passwd', at('local/out'))
    await mkdir(at('local/door'))
    await writeFile(at('local/door/key'), 'evil\n')
    await rsync('-a', `${at('local')}/`, `web-1:${at('up')}`)
    expect(await readdir(at('up'))).not.toContain('out')
    expect(await readFile(at('private/key'), 'utf8')).toBe('the key\n')
  })
})
