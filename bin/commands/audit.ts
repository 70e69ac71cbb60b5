import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { wrongUsage } from '../../client/error.ts'
import type { Report } from '../../gateway/recording/verify.ts'
import { downloadRecording, downloadRecordings, sessionIn } from './download.ts'
import { type KeySet, ownKeySet, readKeyFile, readKeySet } from './key-set.ts'
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
    .argument(
      '[path|url]',
      'a recording, a ledger or the folder of them, or the URL of a gateway or of a session',
    )
    .option('--jwks <file>', 'the gateway’s public keys (its /.well-known/jwks.json), kept from before')
    .option('--head <hash>', 'a head of the ledger that was kept elsewhere, and must come up in it')
    .action(verifyRecordings)
}

async function verifyRecordings(target: string | undefined, options: Options): Promise<void> {
  const remote = target !== undefined && /^https?:/.test(target) ? URL.parse(target) : null
  const report = remote === null ? await verifyLocal(target, options) : await verifyRemote(remote, options)
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
  for (const line of removedLines(report)) print(`  ${line}`)
  if (report.ledger !== null) print(`  ledger head ${report.ledger.head}`)
  if (report.ledger !== null && report.kept === null) {
    print('  compared with no head kept elsewhere: a ledger cut back with all sessions since would not show')
    print('  (on the gateway’s machine: --config; elsewhere: --head, from an earlier verification)')
  }
  if (report.keys === 'directory') {
    print(
      '  checked with the keys beside the recordings: whoever wrote those could have written these (--jwks, --config)',
    )
  }
}

const daysShown = 10

/** What is gone by `gateway.retention`: the last days each, those before in one line. */
function* removedLines({ removed }: Report): Generator<string> {
  const before = removed.slice(0, -daysShown).filter(({ left }) => left === 0)
  const [first, last] = [before[0], before.at(-1)]
  if (first !== undefined && last !== undefined) {
    const sessions = before.reduce((sum, day) => sum + day.sessions, 0)
    yield `${sessions} sessions of ${before.length} days from ${first.day} to ${last.day} removed by retention`
  }
  for (const one of removed.filter((day, index) => day.left > 0 || index >= removed.length - daysShown)) {
    const { day, sessions, at, left } = one
    yield `${sessions} session${sessions === 1 ? '' : 's'} of ${day} removed by retention on ${new Date(at).toISOString().slice(0, 10)}`
    if (left > 0)
      yield `  interrupted: ${left} of them are still there; a running gateway tries again at its start and every hour`
  }
}

async function verifyLocal(target: string | undefined, options: Options): Promise<Report> {
  const config = options.config ?? (target === undefined && existsSync('hoop.yaml') ? 'hoop.yaml' : undefined)
  const gateway = config === undefined ? undefined : await readGatewaySection(config)
  const data = gateway?.data
  const path = target ?? gateway?.recordings
  if (path === undefined) throw wrongUsage('nothing was named', 'give a path, a URL, or --config hoop.yaml')
  const own = data === undefined ? undefined : await ownKeySet(data)
  const keys = options.jwks === undefined ? own : await readKeyFile(options.jwks)
  return verifyAt(path, keys, { head: options.head, data: data ?? dirname(path) })
}

/** Fetches recordings and checks them here, by keys that the gateway names over verified TLS, or those kept from before. */
async function verifyRemote(url: URL, options: Options): Promise<Report> {
  const operator = await connectOperator({ ...options, gateway: url.origin })
  const folder = await mkdtemp(join(tmpdir(), 'hoop-audit-'))
  try {
    const keys =
      options.jwks === undefined
        ? readKeySet(await operator.get('/.well-known/jwks.json'))
        : await readKeyFile(options.jwks)
    const session = sessionIn(url)
    if (session !== null) return await verifyAt(await downloadRecording(operator, folder, session), keys, {})
    const head = await downloadRecordings(operator, folder)
    return await verifyAt(folder, keys, { head: options.head ?? head })
  } finally {
    operator.close()
    await rm(folder, { recursive: true, force: true })
  }
}

async function verifyAt(
  path: string,
  keys: KeySet | undefined,
  { head, data }: { head?: string | undefined; data?: string },
): Promise<Report> {
  const [{ verify }, { markFile }, { readLedgerHead }] = await Promise.all([
    import('../../gateway/recording/verify.ts'),
    import('../../gateway/recording/mark.ts'),
    import('../../gateway/store/ledger-head.ts'),
  ])
  const kids = (keys?.recording ?? []).map(({ kid }) => String(kid))
  return verify(path, {
    ...(keys === undefined || keys.recording.length === 0 ? {} : { publicKey: keys.recording }),
    ...(keys === undefined || keys.token.length === 0 ? {} : { tokenKeys: keys.token }),
    ...(head === undefined ? {} : { ledgerHead: head }),
    ...(data !== undefined && {
      places: [
        markFile(join(data, 'ledger.head')),
        ...kids.map((kid) => readLedgerHead(join(data, 'hoop.db'), kid)),
      ],
    }),
  })
}
