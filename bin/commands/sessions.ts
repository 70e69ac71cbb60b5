import type { Command } from 'commander'
import { wrongUsage } from '../../client/error.ts'
import type { SessionView } from '../../gateway/core/contract.ts'
import { connectOperator } from './operator.ts'
import { type ClientOptions, withOperatorOptions } from './options.ts'
import { printFields, printJson, printTable, tell } from './terminal.ts'

type Options = ClientOptions & { config?: string; speed?: string }

/** `hoop-access sessions`: what happened. */
export function addSessions(program: Command): void {
  const sessions = program.command('sessions').description('see what happened')
  withOperatorOptions(sessions.command('list')).description('the sessions, newest first').action(list)
  withOperatorOptions(sessions.command('show')).description('one session').argument('<id>').action(show)
}

async function list(options: Options): Promise<void> {
  const operator = await connectOperator(options)
  const rows = (await operator.get('/api/v1/sessions')) as SessionView[]
  operator.transport.close()
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
  const operator = await connectOperator(options)
  const row = (await operator.get(`/api/v1/sessions/${checkId(id)}`)) as SessionView
  operator.transport.close()
  if (options.json === true) return printJson(row)
  printFields(Object.entries(row).map(([name, value]) => [name.replaceAll('_', ' '), String(value ?? '')]))
}

/** Ends up in a path. */
function checkId(id: string): string {
  if (/^[\w-]{1,64}$/.test(id)) return id
  throw wrongUsage('that is not a session', 'copy the id from `hoop-access sessions list`')
}
