import { once } from 'node:events'
import ssh2, { type Client, type ConnectConfig } from 'ssh2'

/** A client of its own at a gateway's connection `web-1`, once it is that far; rejects when it is not let in. */
export async function dialSsh(
  port: number,
  config: ConnectConfig,
  until: 'ready' | 'handshake' = 'ready',
): Promise<Client> {
  const client = new ssh2.Client()
  const over = new AbortController()
  client.once('close', () => over.abort(new Error('the gateway hung up')))
  const there = once(client, until, { signal: over.signal })
  client.on('error', () => undefined)
  client.connect({ host: '127.0.0.1', port, username: 'web-1', readyTimeout: 20_000, ...config })
  await there
  return client
}
