import { createHmac } from 'node:crypto'
import type { ColumnMasks, FieldMask, Level, Mask, Policy } from '../policy/policy.ts'
import type { ConnectionConfig } from '../policy/schema.ts'
import { Refused, asRefused } from './errors.ts'
import { chainOf, enforcing, type Identity } from './identity.ts'
import type { Meaning, Request, Span } from './operation.ts'
import { type Verdict, judge, unknownColumn } from './verdict.ts'

/** Proof that an identity may use a connection: what a protocol dials with. Only the gate makes one. */
class GrantProof {
  readonly #identity: Identity
  readonly #connection: string
  readonly #config: ConnectionConfig
  readonly #levels: readonly Level[]
  readonly #masks: ColumnMasks
  readonly #policy: Policy

  constructor(
    identity: Identity,
    connection: string,
    config: ConnectionConfig,
    levels: readonly Level[],
    policy: Policy,
  ) {
    this.#identity = identity
    this.#connection = connection
    this.#config = config
    this.#levels = levels
    this.#masks = policy.masks(levels, connection)
    this.#policy = policy
  }

  get identity(): Identity {
    return this.#identity
  }

  get connection(): string {
    return this.#connection
  }

  /** The connection as configured; secrets in it are read when they are needed, with `readSecret`. */
  get config(): ConnectionConfig {
    return this.#config
  }

  get levels(): readonly Level[] {
    return this.#levels
  }

  /** The service account of the leaf stage, where it has its own: of the last that decides. */
  get account(): NonNullable<Level['grant']>['as'] {
    return this.#levels.findLast((level) => !level.observed)?.grant?.as
  }

  get masks(): ColumnMasks {
    return this.#masks
  }

  /** The policy that granted it, and decides for as long as it is used. */
  get policy(): Policy {
    return this.#policy
  }
}

/** Proof that one request of one session was decided and recorded: what `forward` wants to see. Only the gate makes one. */
class PermitProof {
  readonly #session: object
  readonly #verdict: Verdict | null
  readonly #record: number | null

  constructor(session: object, verdict: Verdict | null, record: number | null) {
    this.#session = session
    this.#verdict = verdict
    this.#record = record
  }

  /** Throws unless this permit was minted for this session (a look-alike throws a TypeError when the field is read). */
  static check(permit: PermitProof, session: object): void {
    if (permit.#session !== session) {
      throw new Refused(
        'forged_permit',
        'a permit of another session was shown',
        'report this: it is a fault of the gateway',
      )
    }
  }

  /** The mask of a column of the nth statement's result, or null: columns that the text did not show are masked if they may be. */
  maskAt(statement: number, column: number): Mask | null {
    const result = this.#verdict?.results[statement] ?? null
    if (result === null) return this.touchesMasked ? unknownColumn : null
    return column < result.columns.length ? (result.columns[column] ?? null) : result.rest
  }

  /** How many columns the nth statement's result is known to have; null where that could not be told. */
  columnsAt(statement: number): number | null {
    return this.#verdict?.results[statement]?.count ?? null
  }

  /** True when a relation with masked columns is touched: answers that cannot be masked are then refused. */
  get touchesMasked(): boolean {
    return this.#verdict?.touchesMasked ?? false
  }

  /** The record (its `seq`) of the request that it permits. */
  get record(): number | null {
    return this.#record
  }

  /** True when what it permits changes nothing. */
  get reads(): boolean {
    return this.#verdict?.reads ?? false
  }

  /** What is masked in JSON, the strictest first. */
  get fields(): readonly FieldMask[] {
    return this.#verdict?.masks.fields ?? []
  }

  /** The mask of a column by name, `schema.relation.column`. */
  maskOf(column: string): Mask | null {
    return this.#verdict?.masks.of(column) ?? null
  }
}

export type Grant = GrantProof
export type Permit = PermitProof
export const checkPermit = (permit: Permit, session: object): void => PermitProof.check(permit, session)

/** Decides by policy, and is the only maker of grants and permits. */
export class Gate {
  readonly #policy: () => Policy
  readonly #key: Uint8Array

  /** `policy` gives the one in force at the moment of the call; `key` keys the digests of values: 32 bytes or more. */
  constructor(policy: () => Policy, key: Uint8Array) {
    this.#policy = policy
    this.#key = key
  }

  get policyVersion(): string {
    return this.#policy().version
  }

  /** Lets an identity at a connection, or throws `Refused`. */
  admit(identity: Identity, connection: string): Grant {
    const policy = this.#policy()
    const config = policy.connection(connection)
    const chain = chainOf(identity)
    const missing = chain.find((node) => !node.auditOnly && !node.connections.has(connection))
    if (config === null || missing !== undefined) {
      // One answer for both, so that names of connections cannot be probed.
      throw new Refused(
        'unknown_connection',
        `stage ${identity.stage} has no connection named ${JSON.stringify(connection.slice(0, 64))}`,
        `use one of: ${[...enforcing(identity).connections.keys()].join(', ') || 'none was granted'}`,
      )
    }
    const steps = chain.map(({ stage, connections, auditOnly }) => ({
      stage,
      // One that only looks on and was not given the connection would have refused all of it.
      narrowed: connections.has(connection) ? (connections.get(connection) ?? null) : [],
      observed: auditOnly,
    }))
    const breach = policy.breach(steps)
    if (breach !== null) {
      throw new Refused(
        'denied',
        `${breach}, and identity ${identity.id} rests on that`,
        'use the identity above it, or have `delegates` name the stage again',
      )
    }
    return new GrantProof(identity, connection, config, policy.levels(steps, connection), policy)
  }

  /** Throws `Refused` when the policy has changed since the grant, and what the groups `by` approved would now be denied, or asked of others. */
  confirm(grant: Grant, meaning: Meaning, by: readonly string[]): void {
    if (grant.policy.version === this.#policy().version) return
    const { decision } = this.judge(this.admit(grant.identity, grant.connection), meaning)
    if (decision.effect === 'deny') throw new Refused('denied', decision.why, decision.next)
    const unasked = decision.effect === 'approve' ? decision.by.filter((group) => !by.includes(group)) : []
    if (unasked.length === 0) return
    throw new Refused(
      'approval_withdrawn',
      `the policy has changed, and now asks ${unasked.join(', ')} too`,
      'run it again: it will be asked anew',
    )
  }

  /** Why a grant is not what the policy in force would give, or null when it still is: then the policy that granted it goes on deciding, and decides alike. */
  lapse(grant: Grant): Refused | null {
    if (grant.policy === this.#policy()) return null
    let anew: Grant
    try {
      anew = this.admit(grant.identity, grant.connection)
    } catch (error) {
      return asRefused(error)
    }
    const terms = ({ policy, levels, connection }: Grant): string => policy.terms(levels, connection)
    if (terms(anew) === terms(grant)) return null
    return new Refused(
      'policy_changed',
      `the policy for connection ${grant.connection} is no longer the one that this session began under`,
      'connect again: what is asked from then on is decided by the policy in force',
    )
  }

  /** Names of the masks that concern what a meaning touches. */
  masksOn({ masks }: Grant, { relations, results, probes, parameters }: Meaning): readonly string[] {
    const columns = [
      ...relations.map((relation) => `${relation}.*`),
      ...results.flatMap((result) => [...(result?.columns.flat() ?? []), ...(result?.rest ?? [])]),
      ...probes,
      ...parameters.flat(),
    ]
    return [...new Set(columns.flatMap((column) => masks.of(column)?.name ?? []))]
  }

  /** The verdict on a meaning: pure, so that callers may keep it as long as grant and meaning live. */
  judge(grant: Grant, meaning: Meaning): Verdict {
    return judge(grant, meaning)
  }

  /** Mints the proof that a verdict was reached and recorded: `record` is the record's `seq`. */
  permit(session: object, verdict: Verdict | null, record: number | null = null): Permit {
    return new PermitProof(session, verdict, record)
  }

  /** The text as it may be shown and kept: values that meet masked columns, and secrets, are gone. */
  show(request: Request, masks: ColumnMasks): string {
    const hidden = request.meaning.spans.filter(
      (span: Span) => span.secret || span.columns.some((column) => masks.of(column) !== null),
    )
    if (hidden.length === 0) return request.text
    let shown = ''
    let from = 0
    for (const span of hidden.toSorted((a, b) => a.start - b.start)) {
      if (span.end <= from) continue
      shown += `${request.text.slice(from, Math.max(from, span.start))}'•••'`
      from = span.end
    }
    return shown + request.text.slice(from)
  }

  /**
   * What an approval is bound to, hex: HMAC-SHA-256 over the text, what it is read under, what it was read as (the same name may
   * be another table later) and the parameters.
   */
  digest(request: Request): string {
    const mac = createHmac('sha256', this.#key)
    const part = (bytes: Uint8Array | null): void => {
      const length = Buffer.alloc(4)
      length.writeInt32BE(bytes?.byteLength ?? -1)
      mac.update(length)
      if (bytes !== null) mac.update(bytes)
    }
    const { operations, relations } = request.meaning
    const done = operations.map(({ actions, resource, namespace, name, unbounded }) => [
      actions,
      resource,
      namespace ?? null,
      name ?? null,
      unbounded ?? null,
    ])
    part(Buffer.from(request.text))
    part(Buffer.from(request.under ?? ''))
    part(Buffer.from(JSON.stringify([done, relations])))
    for (const value of request.parameters) part(value)
    return mac.digest('hex')
  }
}
