import { createPrivateKey, sign } from 'node:crypto'
import { openRecordings } from '../../gateway/recording/recordings.ts'
import { placesOf, request, startOf } from './folder.ts'

// A gateway that records until it is killed: `node write-until-killed.ts DIR SESSION KEY.pem(base64) KID JWK`.

const [dir = '', session = '', pem = '', kid = '', jwk = '{}'] = process.argv.slice(2)
const key = createPrivateKey(Buffer.from(pem, 'base64').toString())
const recordings = await openRecordings({
  dir,
  keys: { kid, publicJwk: JSON.parse(jwk), sign: (data) => sign(null, data, key) },
  places: placesOf(dir),
  log: { info: () => {}, warn: () => {}, error: () => {} },
})
recordings.note({ kind: 'gateway-start', version: '1', policy: 'p1' })
const recorder = await recordings.open(startOf(session))
for (let i = 0; ; i++) {
  recorder.record(request(`insert ${i} ${'x'.repeat(i % 5000)}`))
  await recorder.sync()
  process.stdout.write(`${i}\n`)
}
