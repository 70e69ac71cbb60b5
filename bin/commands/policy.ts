import type { Command } from 'commander'
import { wrongUsage } from '../../client/error.ts'
import type { Operation } from '../../gateway/core/operation.ts'
import type { Policy } from '../../gateway/policy/policy.ts'
import { collect } from './options.ts'
import { print, printJson } from './terminal.ts'

interface ExplainOptions {
  readonly config: string
  readonly stage: string
  readonly connection: string
  readonly sql?: string
  readonly operation?: readonly string[]
  readonly resource?: string
  readonly namespace?: string
  readonly name?: string
  readonly command?: string
  readonly port?: string
  readonly query?: string
  readonly body?: string
  readonly dryRun?: boolean
  readonly narrowed?: string
  readonly json?: boolean
}

/** `hoop-access policy`: checks and explains hoop.yaml, offline and without secrets. */
export function addPolicy(program: Command): void {
  const policy = program
    .command('policy')
    .description('check and explain hoop.yaml, offline and without secrets')
  policy
    .command('check')
    .description('validate hoop.yaml: file:line:column of each fault, and exit code 1')
    .argument('[file]', 'the configuration')
    .option('--config <file>', 'the same', 'hoop.yaml')
    .option('--json', 'print JSON')
    .action((file: string | undefined, options: { config: string; json?: boolean }) =>
      check(file ?? options.config, options.json === true),
    )
  policy
    .command('explain')
    .description('decide one request and name the rule; exit code 3 when it is denied')
    .requiredOption('--stage <chain>', 'the stage, or a chain of them from the root down: deploy>migrate')
    .requiredOption('--connection <name>', 'the connection')
    .option('--sql <text>', 'for PostgreSQL: the statements')
    .option('--operation <name>', 'or one operation (more by repetition): delete, get, exec, GET …', collect)
    .option('--resource <name>', 'what it is done to: public.orders, apps/deployments, /v1/invoices/7')
    .option('--namespace <name>', 'for Kubernetes')
    .option('--name <name>', 'for Kubernetes')
    .option('--command <text>', 'for exec: the command')
    .option('--port <number>', 'for port-forward: the port of the pod')
    .option('--query <text>', 'for HTTP: the query, such as a=1&b=2')
    .option('--body <json>', 'for HTTP: the body')
    .option('--dry-run', 'for Kubernetes: as a dry run')
    .option('--narrowed <operations>', 'what the identity is narrowed to, parted by commas')
    .option('--config <file>', 'the configuration', 'hoop.yaml')
    .option('--json', 'print JSON')
    .action(explainRequest)
}

async function check(file: string, json: boolean): Promise<void> {
  const { checkConfig, renderFaults } = await import('../../gateway/policy/check.ts')
  const { faults, warnings } = checkConfig(file, process.env)
  if (faults.length > 0) process.exitCode = 1
  if (json) return printJson({ faults, warnings })
  process.stdout.write(renderFaults(faults))
  process.stderr.write(
    renderFaults(warnings.map((warning) => ({ ...warning, message: `warning: ${warning.message}` }))),
  )
  if (faults.length === 0) print(`${file} is good`)
}

async function explainRequest(options: ExplainOptions): Promise<void> {
  const { explain, renderExplanation } = await import('../../gateway/policy/explain.ts')
  const { policy, known } = await readPolicy(options.config)
  const stages = options.stage.split('>').map((stage) => stage.trim())
  const stranger = stages.find((stage) => !known.includes(stage))
  if (stranger !== undefined)
    throw wrongUsage(
      `there is no stage named ${JSON.stringify(stranger)}`,
      `use one of: ${known.join(', ')}; a chain is written 'deploy > migrate'`,
    )
  const breach = policy.breach(stages.map((stage) => ({ stage, narrowed: null })))
  if (breach !== null)
    throw wrongUsage(breach, 'no identity has that chain: each stage names the next one in its `delegates`')
  const narrowed = options.narrowed?.split(',').map((operation) => operation.trim())
  const operations =
    options.sql === undefined
      ? await named(options)
      : await meant(policy, { ...options, sql: options.sql, stages })
  const explanation = explain(policy, { stages, connection: options.connection, operations, narrowed })
  if (explanation.decision.effect === 'deny') process.exitCode = 3
  if (options.json === true) return printJson(explanation)
  process.stdout.write(renderExplanation(explanation))
}

async function readPolicy(file: string): Promise<{ policy: Policy; known: readonly string[] }> {
  const { compilePolicy } = await import('../../gateway/policy/compile.ts')
  const { renderFaults } = await import('../../gateway/policy/check.ts')
  const { loadConfig } = await import('../../gateway/policy/load.ts')
  const loaded = loadConfig(file, { env: process.env, secrets: false })
  if ('config' in loaded)
    return { policy: compilePolicy(loaded.config), known: Object.keys(loaded.config.stages) }
  process.stderr.write(renderFaults(loaded.faults))
  throw wrongUsage(`${file} has faults`, 'mend them first')
}

/** What the options name, each operation on the same resource. */
async function named(options: ExplainOptions): Promise<Operation[]> {
  const { operation = [], resource, namespace, name, command, query = '', body, port, dryRun } = options
  if (port !== undefined && !/^\d{1,5}$/.test(port))
    throw wrongUsage(`${JSON.stringify(port)} is no port`, 'give a number')
  const { readQuery } = await import('../../gateway/protocols/http/query.ts')
  const { readJson } = await import('../../gateway/core/json.ts')
  const reading = new Set(['read', 'select', 'get', 'list', 'watch', 'GET', 'HEAD', 'sftp-read'])
  const found = operation.map(
    (action): Operation => ({
      actions: groupOf[action] === undefined ? [action] : [action, groupOf[action]],
      resource: resource ?? '',
      reads: reading.has(action),
      ...(namespace === undefined ? {} : { namespace }),
      ...(name === undefined ? {} : { name }),
      query: readQuery(`?${query.replace(/^\?/, '')}`),
      body: body === undefined ? 'empty' : readJson(Buffer.from(body)),
      ...(command === undefined ? {} : { command: command.split(/\s+/) }),
      ...(port === undefined ? {} : { port: Number(port) }),
      ...(dryRun === true && !reading.has(action) && { dryRun }),
    }),
  )
  if (found.length > 0) return found
  throw wrongUsage('no request was named', 'give --sql, or --operation with --resource')
}

/** The groups of SQL, by which rules may call a single command. */
const groupOf: Readonly<Record<string, string>> = {
  select: 'read',
  insert: 'write',
  update: 'write',
  delete: 'write',
  merge: 'write',
  'copy-in': 'write',
  create: 'ddl',
  alter: 'ddl',
  drop: 'ddl',
  truncate: 'ddl',
}

/** What SQL does, as the gateway would find out, but without the database: views and functions of its own are not known. */
async function meant(
  policy: Policy,
  request: { sql: string; stages: readonly string[]; connection: string },
): Promise<Operation[]> {
  const { createAnalyzer } = await import('../../gateway/sql/create-analyzer.ts')
  const { emptyCatalog } = await import('../../gateway/sql/catalog.ts')
  const analyzer = createAnalyzer()
  try {
    const { meaning } = await analyzer.analyze(request.sql, {
      catalog: emptyCatalog,
      searchPath: ['public'],
      standardConformingStrings: true,
      named: () => null,
    })
    const levels = policy.levels(
      request.stages.map((stage) => ({ stage, narrowed: null })),
      request.connection,
    )
    const masks = policy.masks(levels, request.connection)
    const probes = meaning.probes.filter((column) => masks.of(column) !== null)
    return [
      ...meaning.operations,
      ...probes.map((column): Operation => ({ actions: ['probe'], resource: column, reads: true })),
    ]
  } finally {
    await analyzer.close()
  }
}
