import type { ShownOperation } from './contract.ts'
import type { Json } from './json.ts'

/** A column by the relation it comes from: `schema.relation.column`, or `schema.relation.*` when it may be any of its columns. */
export type Column = string

/** The values of one parameter of a query, each with every text by which a server may take it (`a+b` is also `a b`). */
export type QueryValues = readonly (readonly string[])[]

/** One thing a request does: an action on a resource of the connection. */
export interface Operation {
  /** What rules may call it, the most specific first: `['delete', 'write']`, `['select', 'read']`, `['GET']`. */
  readonly actions: readonly [string, ...string[]]
  /** What it is done to, in canonical form: `public.orders`, `apps/deployments`, `/v1/invoices/7`; empty when it has none. */
  readonly resource: string
  /** True when it is done to what the resource (`/srv/shop/**`) names and to everything below it, whatever that is. */
  readonly below?: true
  readonly namespace?: string
  readonly name?: string
  /** The words of a command, for SSH and Kubernetes exec; null when it may be any (a shell, or what a shell would make more of). */
  readonly command?: readonly string[] | null
  /** The port of a pod that is forwarded to; null while only the tunnel is opened, in which each port is then named. */
  readonly port?: number | null
  /** True for an UPDATE or DELETE without WHERE. */
  readonly unbounded?: boolean
  /** The parameters of an HTTP request's query, by their decoded names; null when two servers could read it in two ways. */
  readonly query?: ReadonlyMap<string, QueryValues> | null
  /** The JSON of an HTTP request's body; null when it is something else, or could be read in two ways; absent while it was not read. */
  readonly body?: Json | 'empty' | null
  /** True for a dry run, which is sure to change nothing; null for what is to be one, and may change something all the same; absent for the real thing. */
  readonly dryRun?: true | null
  /** True when its answer tells whether a guess at a masked value is right: an allow rule for dry runs has to name its resource. */
  readonly guesses?: true
  /** True when it leads through the target to something behind it (a program in a pod, a port, a proxy): an allow rule has to name its resource, unless it allows everything. */
  readonly through?: boolean
  /** True for what comes with any grant: how a client finds out what there is. Rules can still deny it, or have people asked. */
  readonly implied?: boolean
  /** True when nothing can change by it: its record may reach the disk after it is forwarded. */
  readonly reads: boolean
}

/** An operation as it is recorded, and shown to people. */
export function shownOperation({ actions, resource, dryRun }: Operation): ShownOperation {
  return { action: actions[0], resource, ...(dryRun !== undefined && { dry_run: dryRun === true }) }
}

/** A part of a statement's text that is a value: masked wherever the statement is shown or kept, if it meets a masked column or is secret. */
export interface Span {
  /** UTF-16 offsets into the text, end exclusive. */
  readonly start: number
  readonly end: number
  /** The columns that it is compared with or written to. */
  readonly columns: readonly Column[]
  /** True for passwords and the like, masked always. */
  readonly secret: boolean
}

/** What the result of one statement shows: for each result column, the columns its value may come from. */
export interface Result {
  readonly columns: readonly (readonly Column[])[]
  /** Where any result column beyond `columns` may come from: present when `*` stands for columns the catalog does not know. */
  readonly rest?: readonly Column[]
}

/** What one text does, whatever its parameters: immutable, so that it can be cached and compared by reference. */
export interface Meaning {
  readonly operations: readonly Operation[]
  /** Relations touched in any way, `schema.relation`: what decides whether masks concern the request at all. */
  readonly relations: readonly string[]
  /** One entry a statement, in order; null where the statement returns no rows. */
  readonly results: readonly (Result | null)[]
  /** Columns used where they would leak without being shown: conditions, grouping, ordering, joins, casts, moves. */
  readonly probes: readonly Column[]
  readonly spans: readonly Span[]
  /** Columns that parameter `$n` (index n-1) is compared with or written to. */
  readonly parameters: readonly (readonly Column[])[]
  /** Parameters (index n-1) that may hold a password: never shown. */
  readonly secretParameters?: readonly number[]
  /** The same object for all meanings that differ in the places of their spans alone: what is decided on one holds for all. */
  readonly form?: object
}

/** One request as the client made it. */
export interface Request {
  readonly meaning: Meaning
  /** The statement, command or request line as it came. */
  readonly text: string
  /** The values bound to it, in the form they came in; null for SQL NULL. */
  readonly parameters: readonly (Uint8Array | null)[]
  /** What else of its session decides what it does (database, settings): an approval of it reaches no further. Absent where the text says it all. */
  readonly under?: string
}
