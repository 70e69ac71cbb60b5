import { createPublicKey, type JsonWebKey } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { systemCode, wrongUsage } from '../../client/error.ts'
import { connectOperator, readGatewaySection } from './operator.ts'
import { type ClientOptions, withOperatorOptions } from './options.ts'
import { print, printJson } from './terminal.ts'

interface Options extends ClientOptions {
  readonly config?: string
  readonly jwks?: string
  readonly head?: string
}

/** `hoop-access audit`: proves that recordings are what the gateway wrote. */
export function addAudit(program: Command): void {
  const audit = program.command('audit').description('prove that recordings are what the gateway wrote')
  withOperatorOptions(audit.command('verify'))
    .description(
      'check chains and signatures; the first bad record of each file, and exit code 1, on any change, gap or cut',
    )
    .argument('[path|url]', 'a recording, a ledger or the folder of them, or a gateway that checks its own')
    .option('--jwks <file>', 'the gateway’s public keys (its /.well-known/jwks.json), kept from before')
    .option('--head <hash>', 'a head of the ledger that was kept elsewhere, and must come up in it')
    .action(verifyRecordings)
}

async function verifyRecordings(target: string | undefined, options: Options): Promise<void> {
  if (target !== undefined && /^https?:/.test(target)) return verifyRemote(target, options)
  const { verify } = await import('../../gateway/recording/verify.ts')
  const config = options.config ?? (target === undefined && existsSync('hoop.yaml') ? 'hoop.yaml' : undefined)
  const data = config === undefined ? undefined : (await readGatewaySection(config)).data
  const path = target ?? (data === undefined ? undefined : join(data, 'recordings'))
  if (path === undefined) throw wrongUsage('nothing was named', 'give a path, a URL, or --config hoop.yaml')
  const keys = options.jwks !== undefined ? await readKeyFile(options.jwks) : data === undefined ? undefined : await ownKeySet(data)
  const report = await verify(path, verifyOptions(keys, options.head))
  if (!report.ok) process.exitCode = 1
  if (options.json === true) return printJson(report)
  for (const fault of report.faults) {
    const record = fault.seq === null ? '' : `, record ${fault.seq}`
    print(`✗ ${fault.file}:${fault.line} (byte ${fault.offset}${record}): ${fault.why}`)
  }
  const { recordings, records, signatures, statements, running } = report
  const also = running.length === 0 ? '' : `, ${running.length} still running`
  const counts = `${recordings} recordings${also}, ${records} records, ${signatures} signatures, ${statements} identity statements`
  print(`${report.ok ? '✓ whole' : '✗ not whole'}: ${counts}`)
  if (report.ledger !== null) print(`  ledger head ${report.ledger.head}`)
  if (report.keys === 'directory') {
    print(
      '  checked with the keys beside the recordings: whoever wrote those could have written these (--jwks, --config)',
    )
  }
}

function verifyOptions(keys: KeySet | undefined, head: string | undefined) {
  return {
    ...(keys === undefined || keys.recording.length === 0 ? {} : { publicKey: keys.recording }),
    ...(keys === undefined || keys.token.length === 0 ? {} : { tokenKeys: keys.token }),
    ...(head === undefined ? {} : { ledgerHead: head }),
  }
}

async function verifyRemote(gateway: string, options: Options): Promise<void> {
  const operator = await connectOperator({ ...options, gateway })
  const report = await operator.get('/api/v1/audit/verify')
  operator.transport.close()
  const ok = typeof report === 'object' && report !== null && 'ok' in report && report.ok === true
  if (!ok) process.exitCode = 1
  if (options.json === true) return printJson(report)
  print(ok ? '✓ whole, as the gateway itself says' : `✗ not whole: ${JSON.stringify(report)}`)
}
