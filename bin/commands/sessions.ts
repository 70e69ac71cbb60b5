import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import { wrongUsage } from '../../client/error.ts'
import type { SessionView } from '../../gateway/core/contract.ts'
import { downloadRecording } from './download.ts'
import { readKeySet } from './key-set.ts'
import { connectOperator } from './operator.ts'
import { type ClientOptions, checkId, withOperatorOptions } from './options.ts'
import { print, printFields, printJson, printTable, tell } from './terminal.ts'

type Options = ClientOptions & { config?: string; speed?: string; identity?: string; cast?: string }

/** `hoop-access sessions`: what happened. */
export function addSessions(program: Command): void {
  const sessions = program.command('sessions').description('see what happened')
  withOperatorOptions(sessions.command('list'))
    .description('the sessions, newest first')
    .option('--identity <id>', 'only those of this identity and of identities below it')
    .action(list)
  withOperatorOptions(sessions.command('show')).description('one session').argument('<id>').action(show)
  withOperatorOptions(sessions.command('replay'))
    .description(
      'play a recording: requests, decisions, approvals and answers, as far as they verify; --json prints its records as they are kept',
    )
    .argument('<id>')
    .option('--speed <times>', 'times as fast as it happened; 0 does not wait', '0')
    .option(
      '--cast <stream>',
      'SSH, and exec in pods: print one stream (its number in the replay) as an asciicast instead',
    )
    .action(play)
}

async function list(options: Options): Promise<void> {
  const query = options.identity === undefined ? '' : `?identity=${encodeURIComponent(options.identity)}`
  const operator = await connectOperator(options)
  const rows = await operator.list<SessionView>(`/api/v1/sessions${query}`)
  operator.close()
  if (options.json === true) return printJson(rows)
  if (rows.length === 0) return tell('there was no session')
  printTable(
    ['ID', 'STAGE', 'CONNECTION', 'STARTED', 'ENDED', 'ALLOWED', 'HELD', 'DENIED', 'MASKED'],
    rows.map((row) => [
      row.id,
      row.stage,
      row.connection,
      row.started_at,
      row.ended_at ?? 'runs',
      ...[row.allowed, row.held, row.denied, row.masked].map(String),
    ]),
  )
}

async function show(id: string, options: Options): Promise<void> {
  checkId('session', id)
  const operator = await connectOperator(options)
  const row = (await operator.get(`/api/v1/sessions/${id}`)) as SessionView
  operator.close()
  if (options.json === true) return printJson(row)
  printFields(Object.entries(row).map(([name, value]) => [name.replaceAll('_', ' '), String(value ?? '')]))
}

async function play(id: string, options: Options): Promise<void> {
  checkId('session', id)
  const speed = Number(options.speed)
  if (!(speed >= 0))
    throw wrongUsage('--speed is not a number', 'give 1 for as it happened, 10 for faster, 0 for at once')
  const { exportCast, replay } = await import('../../gateway/recording/replay.ts')
  const { describeAnswer } = await import('../../gateway/protocols/postgres/replay.ts')
  const operator = await connectOperator(options)
  const folder = await mkdtemp(join(tmpdir(), 'hoop-replay-'))
  try {
    const keys = readKeySet(await operator.get('/.well-known/jwks.json')).recording
    const path = await downloadRecording(operator, folder, id)
    if (options.json === true) return await pipeline(createReadStream(path), process.stdout, { end: false })
    if (options.cast !== undefined) {
      const channel = Number(options.cast)
      if (await exportCast(path, { keys, channel, write: print })) return
      throw wrongUsage(
        `there is no stream ${options.cast}`,
        'replay the session to see the numbers of its streams',
      )
    }
    await replay(path, {
      keys,
      describe: (protocol, bytes) => (protocol === 'postgres' ? describeAnswer(bytes) : []),
      speed: speed === 0 ? Infinity : speed,
      write: print,
    })
  } finally {
    operator.close()
    await rm(folder, { recursive: true, force: true })
  }
}
