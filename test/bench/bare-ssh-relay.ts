// ssh2 to ssh2 and nothing between: no policy, no masks, no record. What `ssh.ts` compares the gateway with.
// `node test/bench/bare-ssh-relay.ts SSHD_PORT USER KEY` prints the port that it listens on.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import ssh2, { type ClientChannel, type ServerChannel } from 'ssh2'
import { offered } from '../../gateway/protocols/ssh/algorithms.ts'
import { speedUpGcm } from '../../gateway/protocols/ssh/gcm.ts'

const [port, username = '', key = ''] = process.argv.slice(2)
const privateKey = readFileSync(key)
speedUpGcm()

function join(down: ServerChannel, up: ClientChannel): void {
  down.pipe(up)
  up.pipe(down, { end: false })
  up.on('exit', (code: number) => down.exit(code))
  up.once('close', () => down.end())
}

const relay = createServer((socket) => {
  socket.setNoDelay(true)
  const up = new ssh2.Client()
  const server = new ssh2.Server({ hostKeys: [privateKey], algorithms: offered() }, (client) => {
    client.on('authentication', (attempt) => attempt.accept())
    client.on('error', () => up.end())
    client.once('close', () => up.end())
    client.on('session', (accept) => {
      const session = accept()
      session.on('env', (agree) => agree?.())
      session.once('exec', (agree, _reject, { command }) => {
        const down = agree()
        up.exec(command, (_error, channel) => join(down, channel))
      })
      session.once('subsystem', (agree, _reject, { name }) => {
        const down = agree()
        up.subsys(name, (_error, channel) => join(down, channel))
      })
    })
  })
  up.once('ready', () => server.injectSocket(socket))
  up.on('error', () => socket.destroy())
  up.connect({ host: '127.0.0.1', port: Number(port), username, privateKey, algorithms: offered() })
})
relay.listen(0, '127.0.0.1')
await once(relay, 'listening')
console.log((relay.address() as AddressInfo).port)
