import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { type Sshd, startSshd } from '../servers/sshd.ts'
import { type SshJob, type SshStack, startSshStack } from './ssh-stack.ts'

const kinds = {
  ed25519: ['-t', 'ed25519'],
  p256: ['-t', 'ecdsa', '-b', '256'],
  p384: ['-t', 'ecdsa', '-b', '384'],
  p521: ['-t', 'ecdsa', '-b', '521'],
  rsa: ['-t', 'rsa', '-b', '3072'],
} as const
/** Certificates that a host, or the gateway, has to refuse. */
const bad = ['expired', 'later', 'host', 'stranger', 'principal', 'other'] as const

describe.skipIf(lacks('ssh', 'sshd'))('a host that knows an authority for users', () => {
  let folder: string
  let host: Sshd
  let stack: SshStack
  let job: SshJob
  const at = (name: string): string => join(folder, name)
  const keygen = (...args: string[]): void => {
    const { status, stderr } = spawnSync('ssh-keygen', ['-q', ...args])
    if (status !== 0) throw new Error(String(stderr))
  }
  const make = (name: string, kind: readonly string[]): void =>
    keygen(...kind, '-N', '', '-f', at(name), '-C', name)
  const sign = (name: string, ...how: string[]): void =>
    keygen('-s', at('ca'), '-I', name, '-n', userInfo().username, ...how, at(`${name}.pub`))

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hoop-certificates-'))
    make('ca', kinds.ed25519)
    make('stranger-ca', kinds.ed25519)
    for (const [name, kind] of Object.entries(kinds)) {
      make(name, kind)
      sign(name, '-V', '+1h')
    }
    for (const name of bad) make(name, kinds.ed25519)
    sign('expired', '-V', '20200101:20200102')
    sign('later', '-V', '20990101:20990102')
    sign('host', '-h')
    keygen('-s', at('stranger-ca'), '-I', 'stranger', '-n', userInfo().username, at('stranger.pub'))
    keygen('-s', at('ca'), '-I', 'principal', '-n', 'somebody-else', at('principal.pub'))
    // Signed for another key than it stands beside.
    sign('other')
    host = await startSshd(`TrustedUserCAKeys ${at('ca.pub')}\nAuthorizedKeysFile none`)
    const connection = (name: string, certificate = name): string =>
      `  c-${name}: { type: ssh, host: 127.0.0.1, port: ${host.port}, user: ${host.user}, private_key: { file: ${at(name === 'other' ? 'ed25519' : name)} }, certificate: { file: ${at(certificate)}-cert.pub }, host_key: "${host.hostKey}" }`
    const names = [...Object.keys(kinds), ...bad]
    stack = await startSshStack({
      more: names.map((name) => connection(name)).join('\n'),
      stages: `
  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269", ref: "refs/heads/**" } }]
    grants:
${names.map((name) => `      - { connection: c-${name}, allow: [{ operations: [exec] }] }`).join('\n')}
`,
    })
    job = await stack.open('test')
  })
  afterAll(async () => {
    await stack.close()
    await host.stop()
    await rm(folder, { recursive: true, force: true })
  })

  test.each(Object.keys(kinds))('lets the gateway in with a certificate for %s', async (name) => {
    expect(await job.ssh(`c-${name}`, 'echo in')).toMatchObject({ code: 0, out: 'in\n' })
    expect(host.log()).toMatch(new RegExp(`Accepted publickey for .* ID ${name}\\b`))
  })

  test.each([
    ['expired', 'it was valid until 2020-01-0'],
    ['later', 'it is not valid before 2098-12-3|it is not valid before 2099-01-01'],
    ['host', 'it is for hosts, not for users'],
    ['other', 'it is for another private_key'],
    ['stranger', "does not accept the gateway's login"],
    ['principal', "does not accept the gateway's login"],
  ])('%s: refused, and says why', async (name, why) => {
    const ran = await job.ssh(`c-${name}`, 'echo in')
    expect(ran.code).toBe(126)
    expect(ran.err).toMatch(new RegExp(`^hoop-access: .*(${why})`))
    expect(ran.err).not.toContain(await readFile(at(`${name}-cert.pub`), 'utf8'))
    expect(host.log()).not.toMatch(new RegExp(`Accepted .* ID ${name}\\b`))
  })
})
