import { mkdtempSync, rmSync } from 'node:fs'
import { generateKeyPairSync, sign } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { markFile } from '../../gateway/recording/mark.ts'
import { openRecordings } from '../../gateway/recording/recordings.ts'
import { verify } from '../../gateway/recording/verify.ts'

// Prints what recording costs a query: `node test/bench/recording.ts`.

const parent = mkdtempSync(join(tmpdir(), 'hoop-bench-'))
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const keys = {
  sign: (data: Uint8Array) => sign(null, data, privateKey),
  kid: 'bench',
  publicJwk: publicKey.export({ format: 'jwk' }),
}
const log = { info: () => {}, warn: () => {}, error: () => {} }
const dir = join(parent, 'recordings')
const recordings = await openRecordings({ dir, keys, log, places: [markFile(join(parent, 'ledger.head'))] })

const recorder = await recordings.open({
  kind: 'start',
  session: 'ses_bench',
  protocol: 'postgres',
  connection: 'orders-db',
  chain: [],
  origin: { issuer: 'github', platform: 'github', claims: {}, url: null },
  policy: 'p',
  agent: null,
  client: null,
})
const same = recorder.record({
  kind: 'request',
  text: 'select * from orders where id = $1',
  operations: [{ action: 'select', resource: 'public.orders' }],
  parameters: ['1'],
  effect: 'allow',
  rule: 'deploy/orders-db allow[0]',
})
const answer = [Buffer.alloc(120, 'a')]

const queries = 50_000
function run(): number {
  const from = process.hrtime.bigint()
  for (let i = 0; i < queries; i++) {
    recorder.record({
      kind: 'request',
      same,
      parameters: [String(i)],
      effect: 'allow',
      rule: 'deploy/orders-db allow[0]',
    })
    recorder.answer(answer)
    recorder.flush()
  }
  return Number(process.hrtime.bigint() - from) / queries / 1000
}
run()
process.stdout.write(`record, answer, flush        ${run().toFixed(1)} us a query\n`)

let from = process.hrtime.bigint()
for (let i = 0; i < 1000; i++) {
  recorder.record({ kind: 'request', same, parameters: [String(i)], effect: 'allow', rule: null })
  await recorder.sync()
}
process.stdout.write(
  `record, sync (fdatasync)     ${(Number(process.hrtime.bigint() - from) / 1e6).toFixed(0)} us a query\n`,
)

const chunk = [Buffer.alloc(65_536, 'b')]
from = process.hrtime.bigint()
for (let i = 0; i < 8192; i++) {
  recorder.answer(chunk)
  recorder.flush()
}
process.stdout.write(
  `a long answer, hashed        ${((8192 * 65_536 * 1000) / Number(process.hrtime.bigint() - from)).toFixed(0)} MB/s\n`,
)

await recorder.close({ kind: 'end', why: 'done', allowed: 0, held: 0, denied: 0, masked: 0 })
await recordings.close('done')
from = process.hrtime.bigint()
const report = await verify(dir)
process.stdout.write(
  `verify                       ${(Number(process.hrtime.bigint() - from) / 1000 / report.records).toFixed(1)} us a record, ${report.ok ? 'whole' : 'DAMAGED'}\n`,
)
rmSync(parent, { recursive: true })
