import { type Command, Option } from 'commander'
import { type ApprovalView, operationWords } from '../../gateway/core/contract.ts'
import { addConfirm } from './confirm.ts'
import { connectOperator } from './operator.ts'
import { type ClientOptions, checkId, withOperatorOptions } from './options.ts'
import { print, printFields, printJson, printTable, tell } from './terminal.ts'
import { addWaiting } from './waiting.ts'

const states: readonly ApprovalView['state'][] = [
  'pending',
  'approved',
  'denied',
  'expired',
  'withdrawn',
  'used',
]

type Options = ClientOptions & { config?: string; state?: string; reason?: string; breakGlass?: boolean }

/** `hoop-access approvals`: the approver's side, from a terminal. */
export function addApprovals(program: Command): void {
  const approvals = program.command('approvals').description('see what is held, and answer it')
  withOperatorOptions(approvals.command('list'))
    .description('what is held, and what was')
    .addOption(new Option('--state <state>', 'only those').choices(states))
    .action(list)
  withOperatorOptions(approvals.command('show'))
    .description('one held request: what is asked, by whom, and who answered')
    .argument('<id>')
    .action(show)
  addWaiting(approvals)
  addConfirm(approvals)
  for (const answer of ['approve', 'deny'] as const) {
    const command = withOperatorOptions(approvals.command(answer))
      .description(answer === 'approve' ? 'let a held request go on' : 'refuse a held request')
      .argument('<id>')
      .option('--reason <text>', 'kept with the record')
      .action((id: string, options: Options) => decide(answer, id, options))
    if (answer === 'approve')
      command.option('--break-glass', 'pass it alone, with a reason: everybody is told')
  }
}

async function list(options: Options): Promise<void> {
  const operator = await connectOperator(options)
  const query = options.state === undefined ? '' : `?state=${encodeURIComponent(options.state)}`
  const rows = await operator.list<ApprovalView>(`/api/v1/approvals${query}`)
  operator.close()
  if (options.json === true) return printJson(rows)
  if (rows.length === 0) return tell('nothing is held')
  printTable(
    ['ID', 'STATE', 'UNTIL', 'BY', 'CONNECTION', 'OPERATIONS', 'STATEMENT'],
    rows.map((row) => [
      row.id,
      row.state,
      row.expires_at,
      row.by.join(', '),
      row.connection,
      operationsOf(row),
      row.statement,
    ]),
  )
}

async function show(id: string, options: Options): Promise<void> {
  checkId('approval', id)
  const operator = await connectOperator(options)
  const row = (await operator.get(`/api/v1/approvals/${id}`)) as ApprovalView
  operator.close()
  if (options.json === true) return printJson(row)
  printFields([
    ['id', row.id],
    ['state', row.state],
    ['connection', row.connection],
    ['identity', row.identity],
    ['operations', operationsOf(row)],
    ['statement', row.statement],
    ['masks', row.masks.join(', ')],
    ['digest', row.digest],
    ['job', row.run ?? ''],
    ['rule', row.rule],
    ['by', row.by.join(' and ')],
    ['asked', row.requested_at],
    ['until', row.expires_at],
    ['reaches', row.reach],
    ['page', row.url],
    ...row.gates.map(({ gate, state, url, failure }): [string, string] => [
      gate,
      [state, url, failure].filter((part) => part !== null).join(': '),
    ]),
    ...row.alarms.map(({ gate, to, person, state, failure }): [string, string] => [
      'alarm',
      [`${to === null ? gate : `${gate} ${to}`} about ${person}`, state, failure]
        .filter((part) => part !== null)
        .join(': '),
    ]),
    ...row.answers.map(({ person, group, gate, answer, reason, at }): [string, string] => [
      answer,
      `${person} for ${group} by ${gate} at ${at}${reason === '' ? '' : `: ${reason}`}`,
    ]),
  ])
}

async function decide(answer: 'approve' | 'deny', id: string, options: Options): Promise<void> {
  checkId('approval', id)
  const operator = await connectOperator(options)
  const row = (await operator.post(`/api/v1/approvals/${id}/${answer}`, {
    reason: options.reason ?? '',
    break_glass: options.breakGlass === true,
  })) as ApprovalView
  operator.close()
  if (options.json === true) return printJson(row)
  print(`${row.id} ${row.state}`)
}

function operationsOf({ operations }: ApprovalView): string {
  return operations.map(operationWords).join(', ')
}
