import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { freePort } from './port.ts'
import { find } from './programs.ts'

/** Debian's own server, in the foreground on a loopback port. */
export interface Sshd {
  readonly port: number
  readonly user: string
  /** As in known_hosts. */
  readonly hostKey: string
  /** The private key that may log in, in OpenSSH's form. */
  readonly privateKey: string
  readonly folder: string
  /** What it logged: logins, commands, subsystems. */
  log(): string
  stop(): Promise<void>
}

const sftpServer = '/usr/lib/openssh/sftp-server'
// It insists on its whole path.
const binary = find('sshd') ?? 'sshd'

/** Starts it; `config` is added to its own. It runs as this user, who is the only one it lets in. */
export async function startSshd(config = ''): Promise<Sshd> {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-sshd-'))
  const at = (name: string): string => join(folder, name)
  for (const name of ['host_key', 'user_key']) {
    spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(name), '-C', name])
  }
  await writeFile(at('authorized_keys'), await readFile(at('user_key.pub')), { mode: 0o600 })
  const port = await freePort()
  // Every command is written down before it runs: sshd's own log does not hold them.
  await writeFile(
    at('run'),
    `#!/bin/sh
printf '%s\\n' "\${SSH_ORIGINAL_COMMAND-(shell)}" >>'${at('commands')}'
case \${SSH_ORIGINAL_COMMAND-} in
  '') exec /bin/sh -i ;;
  *) exec /bin/sh -c "$SSH_ORIGINAL_COMMAND" ;;
esac
`,
    { mode: 0o755 },
  )
  // Privilege separation wants its folder when root starts it.
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true })
  await writeFile(
    at('sshd_config'),
    `Port ${port}
ListenAddress 127.0.0.1
HostKey ${at('host_key')}
AuthorizedKeysFile ${at('authorized_keys')}
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
LogLevel VERBOSE
AcceptEnv *
MaxStartups 200
Subsystem sftp ${sftpServer}
${config.includes('ForceCommand') ? '' : `ForceCommand ${at('run')}`}
${config}
`,
  )
  // Not to its stderr, which what it runs for clients inherits.
  await writeFile(at('commands'), '')
  const log = (): string => ['log', 'commands'].map((name) => read(at(name))).join('')
  const child = spawn(binary, ['-D', '-E', at('log'), '-f', at('sshd_config')], { stdio: 'ignore' })
  await answering(port, child, log)
  const [type = '', key = ''] = (await readFile(at('host_key.pub'), 'utf8')).split(' ')
  return {
    port,
    user: userInfo().username,
    hostKey: `${type} ${key}`,
    privateKey: at('user_key'),
    folder,
    log,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = new Promise((resolve) => child.once('exit', resolve))
        child.kill('SIGTERM')
        await gone
      }
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function read(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

async function answering(port: number, child: ChildProcess, log: () => string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (child.exitCode !== null) throw new Error(`sshd ended: ${log()}`)
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy()
        resolve(true)
      })
      socket.once('error', () => resolve(false))
    })
    if (open) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('sshd does not answer')
}
