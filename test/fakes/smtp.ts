import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { type TLSSocket, createServer } from 'node:tls'
import { makeAuthority } from '../servers/certificates.ts'

export interface Letter {
  readonly from: string
  readonly to: readonly string[]
  /** As it came, without the dots of SMTP. */
  readonly source: string
  /** The plain part, decoded. */
  readonly text: string
}

/** A mail server over TLS that takes letters from one user: RFC 5321, RFC 4954. */
export interface Smtp {
  readonly port: number
  readonly password: string
  /** PEM. */
  readonly ca: string
  readonly letters: Letter[]
  /** What a real server would have refused. */
  readonly refused: string[]
  /** An address that it does not take letters for now. */
  refuse: string | null
  close(): Promise<void>
}

export async function startSmtp(): Promise<Smtp> {
  const authority = makeAuthority('mail of the test')
  const { certPem: cert, keyPem: key } = authority.issue('localhost', ['localhost'])
  const password = randomBytes(9).toString('base64url')
  const sockets = new Set<TLSSocket>()
  const server = createServer({ cert, key }, (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    talk(socket, smtp)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const smtp: Smtp = {
    port: (server.address() as AddressInfo).port,
    password,
    ca: authority.certPem,
    letters: [],
    refused: [],
    refuse: null,
    close: () =>
      new Promise((done) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => done())
      }),
  }
  return smtp
}

function talk(socket: TLSSocket, smtp: Smtp): void {
  let buffer = ''
  let data: string[] | null = null
  let known = false
  let from: string | null = null
  let to: string[] = []
  const say = (line: string): void => void socket.write(`${line}\r\n`)
  const no = (line: string, why: string): void => {
    smtp.refused.push(why)
    say(line)
  }
  const take = (line: string): void => {
    if (data !== null) {
      if (line !== '.') return void data.push(line.startsWith('.') ? line.slice(1) : line)
      const source = data.join('\n')
      smtp.letters.push({ from: from ?? '', to, source, text: plainOf(source) })
      data = null
      from = null
      to = []
      return say('250 2.0.0 queued')
    }
    const [verb = ''] = line.toUpperCase().split(' ')
    if (verb === 'EHLO') return say('250-localhost\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN')
    if (verb === 'QUIT') return void socket.end('221 2.0.0 bye\r\n')
    if (verb === 'RSET') return say('250 2.0.0 ok')
    if (verb === 'AUTH') {
      const given = Buffer.from(line.split(' ')[2] ?? '', 'base64')
        .toString()
        .split('\0')
      known = line.startsWith('AUTH PLAIN ') && given[1] === 'hoop' && given[2] === smtp.password
      return known ? say('235 2.7.0 ok') : no('535 5.7.8 no', 'auth')
    }
    if (!known) return no('530 5.7.0 authentication required', `${verb} without AUTH`)
    const address = /<([^<>\s]+@[^<>\s]+)>/.exec(line)?.[1]
    if (verb === 'MAIL' && address !== undefined && from === null) {
      from = address
      return say('250 2.1.0 ok')
    }
    if (verb === 'RCPT' && address !== undefined && from !== null) {
      if (address === smtp.refuse) {
        from = null
        return say('550 5.1.1 no such user')
      }
      to.push(address)
      return say('250 2.1.5 ok')
    }
    if (verb === 'DATA' && to.length > 0) {
      data = []
      return say('354 go on')
    }
    no('503 5.5.1 bad sequence', line)
  }
  socket.on('data', (chunk: Buffer) => {
    buffer += chunk.toString('latin1')
    for (let end = buffer.indexOf('\r\n'); end >= 0; end = buffer.indexOf('\r\n')) {
      const line = buffer.slice(0, end)
      buffer = buffer.slice(end + 2)
      take(line)
    }
  })
  say('220 localhost ESMTP')
}

/** The text/plain part of a multipart letter, whatever its transfer encoding. */
function plainOf(source: string): string {
  const part = source.split(/^--\S+$/m).find((one) => /^content-type: text\/plain/im.test(one)) ?? ''
  const [head = '', ...rest] = part.replace(/^\n+/, '').split('\n\n')
  const body = rest.join('\n\n')
  if (/quoted-printable/i.test(head)) {
    const bytes = body
      .replaceAll('=\n', '')
      .replaceAll(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    return Buffer.from(bytes, 'latin1').toString()
  }
  if (/base64/i.test(head)) return Buffer.from(body, 'base64').toString()
  return body
}
