import { readFileSync } from 'node:fs'
import { connect } from 'node:tls'

// Load for test/bench/http.ts, in a process of its own and with little work a request: raw requests over kept connections.

const [port = '', path = '', seconds = '', clients = '', ca = '', pem = ''] = process.argv.slice(2)
const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
const tls = {
  host: 'localhost',
  port: Number(port),
  ca: readFileSync(ca),
  ...(pem !== '' && { cert: readFileSync(pem), key: readFileSync(pem) }),
}
const times: number[] = []
const lastChunk = Buffer.from('\r\n0\r\n\r\n')
let end = Number.POSITIVE_INFINITY

async function client(): Promise<void> {
  const socket = connect(tls)
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
  await new Promise<void>((resolve, reject) => {
    let from = 0
    let seen: Buffer = Buffer.alloc(0)
    const ask = (): void => {
      from = performance.now()
      socket.write(request)
    }
    socket.on('data', (chunk: Buffer) => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk])
      if (!isWhole(seen)) return
      if (seen.toString('latin1', 9, 12) !== '200') return reject(new Error(seen.toString()))
      seen = Buffer.alloc(0)
      const now = performance.now()
      times.push(now - from)
      if (now < end) return ask()
      socket.destroy()
      resolve()
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed')))
    ask()
  })
}

function isWhole(bytes: Buffer): boolean {
  const head = bytes.indexOf('\r\n\r\n')
  if (head < 0) return false
  const length = /\r\ncontent-length: (\d+)/i.exec(bytes.toString('latin1', 0, head))?.[1]
  if (length !== undefined) return bytes.length >= head + 4 + Number(length)
  return bytes.subarray(-lastChunk.length).equals(lastChunk)
}

const started = performance.now()
end = started + Number(seconds) * 1000
await Promise.all(Array.from({ length: Number(clients) }, client))
const took = (performance.now() - started) / 1000
times.sort((a, b) => a - b)
const at = (share: number): number => times[Math.floor(times.length * share)] ?? 0
console.log(
  JSON.stringify({ requests: times.length, rate: times.length / took, p50: at(0.5), p99: at(0.99) }),
)
