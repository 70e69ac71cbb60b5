import { type Findings, type Path, suggest } from './fault.ts'
import { compilePath } from './json-path.ts'
import { knownOperations } from './operations.ts'
import { splitCommand } from './pattern.ts'
import type { ConnectionConfig, RuleConfig } from './schema.ts'

type ConnectionType = ConnectionConfig['type']

/** A rule that can never match looks like a rule that protects: every such rule is a fault. */
export function findRuleFaults(rule: RuleConfig, type: ConnectionType, path: Path, findings: Findings): void {
  const known = knownOperations[type]
  for (const [index, operation] of rule.operations.entries()) {
    if (operation === '*' || known.includes(operation)) continue
    const hint =
      type === 'kubernetes' && operation === 'dry-run'
        ? ': name the verbs, and write `dry_run: true`'
        : suggest(operation, known)
    findings.fault([...path, 'operations', index], `${type} has no operation \`${operation}\`${hint}`)
  }
  for (const [index, resource] of (rule.resources ?? []).entries()) {
    const wrong = resource === '*' ? null : resourceFault(resource, type)
    if (wrong !== null) findings.fault([...path, 'resources', index], wrong)
  }
  if (type === 'postgres') findColumnFaults(rule, path, findings)
  if (type === 'kubernetes') findStreamFaults(rule, path, findings)
  for (const key of ['namespaces', 'names'] as const) {
    if (rule[key] === undefined) continue
    if (type !== 'kubernetes') findings.fault([...path, key], `\`${key}\` is for kubernetes connections only`)
    for (const [index, name] of rule[key].entries()) {
      if (/[\s/]/.test(name) || name.includes('**')) {
        findings.fault([...path, key, index], 'a name, possibly with `*`')
      }
    }
  }
  findConditionFaults(rule, type, path, findings)
  if (rule.commands !== undefined && type !== 'ssh' && type !== 'kubernetes') {
    findings.fault([...path, 'commands'], '`commands` is for ssh and kubernetes connections only')
  }
  for (const [index, command] of (rule.commands ?? []).entries()) {
    if (splitCommand(command) === null) {
      findings.fault(
        [...path, 'commands', index],
        'a command is words with spaces between; `*` stands for one whole word, and quotes must end',
      )
    }
  }
  if (rule.ports !== undefined) findPortFaults(rule, type, path, findings)
  if (rule.unbounded === true) {
    if (type !== 'postgres') {
      findings.fault([...path, 'unbounded'], '`unbounded` is for postgres connections only')
    } else if (!rule.operations.some((operation) => ['*', 'write', 'update', 'delete'].includes(operation))) {
      findings.fault(
        [...path, 'unbounded'],
        '`unbounded` goes with update, delete or write: nothing else can be',
      )
    }
  }
}

/** Conditions on what only HTTP requests have. */
function findConditionFaults(rule: RuleConfig, type: ConnectionType, path: Path, findings: Findings): void {
  for (const key of ['query', 'body'] as const) {
    const conditions = rule[key]
    if (conditions === undefined) continue
    if (type !== 'http') findings.fault([...path, key], `\`${key}\` is for http connections only`)
    if (Object.keys(conditions).length === 0) findings.fault([...path, key], 'name at least one condition')
  }
  for (const name of Object.keys(rule.body ?? {})) {
    if (compilePath(name) === null)
      findings.fault(
        [...path, 'body', name],
        'a JSON path is `$` and steps such as `.name`, `[0]`, `[*]` or `..name`',
      )
  }
  const bodiless = rule.operations.every((operation) => ['read', 'GET', 'HEAD'].includes(operation))
  if (rule.body !== undefined && bodiless)
    findings.fault([...path, 'body'], 'requests that only read have no body: this would never match')
}

/** `probe` is of columns, and everything else is of what holds them. */
function findColumnFaults(rule: RuleConfig, path: Path, findings: Findings): void {
  const { operations, resources } = rule
  if (resources === undefined) return
  const probes = operations.includes('probe')
  const isColumn = (resource: string): boolean => columnForm.test(resource)
  if (probes && !resources.some((resource) => resource === '*' || isColumn(resource))) {
    findings.fault([...path, 'resources'], '`probe` is of a column: name schema.table.column')
  }
  for (const [index, resource] of resources.entries()) {
    if (!probes && isColumn(resource)) {
      findings.fault(
        [...path, 'resources', index],
        'only `probe` is of a column: the others are of schema.relation (columns are hidden by masks)',
      )
    }
  }
}

/** What opens streams to a pod is `create`, by whichever HTTP method it is asked for. */
function findStreamFaults({ operations, resources }: RuleConfig, path: Path, findings: Findings): void {
  if (operations.includes('create') || operations.includes('*')) return
  for (const [index, resource] of (resources ?? []).entries()) {
    if (/^pods\/(?:exec|attach|portforward)$/.test(resource))
      findings.fault(
        [...path, 'resources', index],
        `\`${resource}\` is \`create\`, whichever way it is asked for`,
      )
  }
}

/** Ports are of port-forward alone: beside anything else they would keep the rule from it. */
function findPortFaults(
  { resources = [] }: RuleConfig,
  type: ConnectionType,
  path: Path,
  findings: Findings,
): void {
  if (type !== 'kubernetes') {
    findings.fault([...path, 'ports'], '`ports` is for kubernetes connections only')
  } else if (resources.length === 0 || resources.some((resource) => resource !== 'pods/portforward')) {
    findings.fault([...path, 'ports'], '`ports` goes with `resources: [pods/portforward]` alone')
  }
}

const columnForm = /^(?:(?:"(?:[^"]|"")+"|[^".]+)\.){2}(?:"(?:[^"]|"")+"|[^".]+)$/

/** What is wrong with the shape of a resource pattern, or null. */
function resourceFault(resource: string, type: ConnectionType): string | null {
  if (/[\p{Cc}]/u.test(resource)) return 'a resource has no control characters'
  switch (type) {
    case 'postgres': {
      const parts = /^(?:"(?:[^"]|"")+"|[^".\s/]+)(?:\.(?:"(?:[^"]|"")+"|[^".\s/]+)){0,2}$/
      if (resource.includes('**')) return '`**` is for paths: `*` matches within a part, as in `public.*`'
      return parts.test(resource)
        ? null
        : 'a resource is schema.relation (schema.relation.column for probe), such as `public.*`'
    }
    case 'kubernetes':
      if (resource.startsWith('/')) return null
      if (resource.includes('**')) return '`**` is for paths: use `*` for one part, or `*` alone for all'
      return /^[^\s/]+(\/[^\s/]+){0,2}$/.test(resource)
        ? null
        : 'a resource is group/resource/subresource, such as `pods`, `pods/log` or `apps/deployments`'
    case 'http':
      if (resource === '**') return null
      return /^\/[^\s?#]*$/.test(resource)
        ? null
        : 'a resource is a path that starts with `/`, without `?` and `#`'
    case 'ssh':
      return /\s/.test(resource) ? 'a resource is a path or HOST:PORT' : null
  }
}
