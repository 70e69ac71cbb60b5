import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { createSecureContext } from 'node:tls'
import { Pool } from 'undici'

// What node itself needs to relay: TLS on both sides and nothing else. Prints its port.

const [origin = '', ca = '', cert = '', key = ''] = process.argv.slice(2)
const pool = new Pool(origin, {
  connections: 5000,
  bodyTimeout: 0,
  connect: { secureContext: createSecureContext({ ca: readFileSync(ca) }) },
})
const server = createServer(
  { cert: readFileSync(cert), key: readFileSync(key) },
  (request, response) =>
    void pool
      .request({ method: 'GET', path: request.url ?? '/' })
      .then(({ body }) => body.on('error', () => response.destroy()).pipe(response)),
)
server.listen(0, '127.0.0.1', () => console.log(Object(server.address()).port))
