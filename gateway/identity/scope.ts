import { Refused } from '../core/errors.ts'
import type { Identity } from '../core/identity.ts'
import { narrows } from '../policy/narrowing.ts'
import type { Config, StageConfig } from '../policy/schema.ts'

const MAX_SCOPE_CHARS = 8192
const MAX_OPERATIONS = 32
const NAME = '[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?'
const stageEntry = new RegExp(`^stage:(${NAME})$`)
const connectionEntry = new RegExp(`^connection:(${NAME})(?::([A-Za-z][A-Za-z0-9-]{0,63}))?$`)

/** Connections of an identity: each narrowed to some operations, or null for all that the stage grants. */
export type Connections = ReadonlyMap<string, readonly string[] | null>

/** What a scope asks for: `stage:NAME connection:NAME[:OP]`, as RFC 6749 §3.3 writes lists. */
export interface Asked {
  readonly stage: string | null
  /** Null when no connection is named: all that can be had. */
  readonly connections: Connections | null
}

/** Reads a scope; throws `Refused` `invalid_scope` for whatever is unknown, repeated or contradictory. */
export function readScope(scope: string | undefined): Asked {
  if (scope === undefined || scope === '') return { stage: null, connections: null }
  if (scope.length > MAX_SCOPE_CHARS) throw badScope(`it is longer than ${MAX_SCOPE_CHARS} characters`)
  let stage: string | null = null
  const connections = new Map<string, string[] | null>()
  for (const entry of scope.split(' ')) {
    const stageName = stageEntry.exec(entry)?.[1]
    if (stageName !== undefined) {
      if (stage !== null) throw badScope('it names two stages')
      stage = stageName
      continue
    }
    const [, name, operation] = connectionEntry.exec(entry) ?? []
    if (name === undefined)
      throw badScope(`${JSON.stringify(entry.slice(0, 80))} is neither stage:NAME nor connection:NAME[:OP]`)
    add(connections, name, operation)
  }
  return { stage, connections: connections.size === 0 ? null : connections }
}

function add(connections: Map<string, string[] | null>, name: string, operation: string | undefined): void {
  const present = connections.get(name)
  if (present === undefined) {
    connections.set(name, operation === undefined ? null : [operation])
    return
  }
  // All of it and a part of it: whichever were meant, the other would be a surprise.
  if (present === null || operation === undefined || present.includes(operation)) {
    throw badScope(`it names connection ${name} twice`)
  }
  if (present.length >= MAX_OPERATIONS)
    throw badScope(`it names more than ${MAX_OPERATIONS} operations of ${name}`)
  present.push(operation)
}

/** A scope as it was granted. */
export function writeScope(stage: string, connections: Connections): string {
  const entries = [...connections].flatMap(([name, operations]) =>
    operations === null
      ? [`connection:${name}`]
      : operations.map((operation) => `connection:${name}:${operation}`),
  )
  return [`stage:${stage}`, ...entries].join(' ')
}

/** True when both grant the same; the order of names and operations does not matter. */
export function sameConnections(one: Connections, other: Connections): boolean {
  const text = (connections: Connections): string =>
    writeScope('', connections).split(' ').toSorted().join(' ')
  return text(one) === text(other)
}

/** The connections of a root identity: those asked for, each of which the stage must grant, or all. */
export function grantRoot(stageName: string, stage: StageConfig, asked: Asked): Connections {
  const granted = grantedBy(stage)
  const connections = asked.connections ?? new Map([...granted].map((name) => [name, null]))
  for (const name of connections.keys()) {
    if (!granted.has(name)) throw notGranted(`stage ${stageName} grants no connection named ${name}`, granted)
  }
  return connections
}

/** The connections of a child: never one that the parent has not, never an operation that the parent's narrowing leaves out. */
export function grantChild(
  parent: Identity,
  stageName: string,
  stage: StageConfig,
  asked: Asked,
): Connections {
  const granted = new Set([...grantedBy(stage)].filter((name) => parent.connections.has(name)))
  if (asked.connections === null) {
    return new Map([...granted].map((name) => [name, parent.connections.get(name) ?? null]))
  }
  const connections = new Map<string, readonly string[] | null>()
  for (const [name, operations] of asked.connections) {
    if (!granted.has(name)) {
      throw notGranted(
        `connection ${name} is not both the parent's and granted by stage ${stageName}`,
        granted,
      )
    }
    const held = parent.connections.get(name) ?? null
    if (held !== null && !narrows(held, operations)) {
      throw notGranted(
        `the parent is narrowed to ${held.map((operation) => `${name}:${operation}`).join(' ')}`,
        granted,
      )
    }
    connections.set(name, operations)
  }
  return connections
}

/** The stage of a child: the parent's own, or one that the parent's stage delegates to. Throws `Refused` `denied` otherwise. */
export function delegatedStage(config: Config, parentStage: string, name: string): StageConfig {
  const delegates = config.stages[parentStage]?.delegates ?? []
  const stage = Object.hasOwn(config.stages, name) ? config.stages[name] : undefined
  if (stage !== undefined && (name === parentStage || delegates.includes(name))) return stage
  throw new Refused(
    'denied',
    `stage ${parentStage} may not hand stage ${JSON.stringify(name)} to a child`,
    `use one of: ${[parentStage, ...delegates].join(', ')}; or have it added to stages.${parentStage}.delegates in hoop.yaml`,
  )
}

function grantedBy(stage: StageConfig): Set<string> {
  return new Set((stage.grants ?? []).map((grant) => grant.connection))
}

function badScope(why: string): Refused {
  return new Refused(
    'invalid_scope',
    `the scope is refused: ${why}`,
    'write it as stage:NAME connection:NAME[:OP] …',
  )
}

function notGranted(why: string, granted: ReadonlySet<string>): Refused {
  return new Refused('invalid_scope', why, `use one of: ${[...granted].join(', ') || 'none can be had'}`)
}
