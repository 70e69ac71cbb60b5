import type { Random } from '../policy/random.ts'

/** What the generated statements are about: relations with the same names in two schemas, views over views, a sequence, functions. */
export const grammarSchema = `
create schema other;
create table public.a (x int unique, y int, s text);
create table public.b (x int, z int, t text);
create table public.c (y int, z int, u text);
create table other.a (x int unique, w int, s text);
create table public.parted (x int, s text) partition by range (x);
create table public.parted_one partition of public.parted for values from (0) to (10);
create table public.child () inherits (public.b);
create view public.simple as select x, s from public.a where y is null;
create view public.joined as select a.x, b.t from public.a join public.b using (x);
create view other.nested as select j.x, c.u from public.joined j left join public.c on c.y = j.x;
create view public.over as select s, x from public.simple;
create sequence public.n;
create function public.f(int) returns int language plpgsql volatile as 'begin return $1; end';
create function other.g(text) returns text language plpgsql volatile as 'begin return $1; end';
`

type Type = 'int' | 'text'
type Columns = Readonly<Record<string, Type>>

const tables: Readonly<Record<string, Columns>> = {
  a: { x: 'int', y: 'int', s: 'text' },
  'public.b': { x: 'int', z: 'int', t: 'text' },
  'public.c': { y: 'int', z: 'int', u: 'text' },
  'other.a': { x: 'int', w: 'int', s: 'text' },
  parted: { x: 'int', s: 'text' },
  child: { x: 'int', z: 'int', t: 'text' },
}
const views: Readonly<Record<string, Columns>> = {
  simple: { x: 'int', s: 'text' },
  over: { x: 'int', s: 'text' },
  joined: { x: 'int', t: 'text' },
  'other.nested': { x: 'int', u: 'text' },
}
const relations = { ...tables, ...views }

/** Something that columns can be taken from, by its alias. */
interface Item {
  readonly sql: string
  readonly alias: string
  readonly columns: Columns
  /** Holds columns that nothing needs unless all of them are shown. */
  readonly derived: boolean
}

/**
 * Statements over `grammarSchema`. Whatever a sub-select gives is used outside of it, so that PostgreSQL needs just the
 * columns that can be seen in the result or in a condition.
 */
export class Grammar {
  readonly #random: Random
  #names = 0

  constructor(random: Random) {
    this.#random = random
  }

  statement(): string {
    this.#names = 0
    const query = (): string => this.#query(this.#below(3))
    return this.#one(
      query,
      query,
      () => this.#change(),
      () => this.#change(),
      () => this.#change(),
      () => `${this.#with()} ${this.#free(1)}`,
      () => `copy (${this.#one(query, () => this.#change(true))}) to stdout`,
      () => `explain ${this.#one(query, () => this.#change())}`,
      () => `create temp table made as ${query()}`,
      () => `prepare p as ${query()}; execute p`,
      () => `declare k cursor for ${query()}; fetch all from k`,
      () => `table ${this.#pick(Object.keys(relations))}`,
      () => `copy ${this.#pick(Object.keys(tables).filter((name) => name !== 'parted'))} to stdout`,
      () => `truncate only ${this.#pick(['a', 'other.a', 'public.c'])}`,
      () => `${this.#free(1)} for update`,
    )
  }

  #below(bound: number): number {
    return this.#random.below(bound)
  }
  #pick<T>(from: readonly T[]): T {
    return this.#random.pick(from)
  }
  #one(...makers: readonly (() => string)[]): string {
    return this.#pick(makers)()
  }
  #many(most: number, make: () => string, between = ', '): string {
    return Array.from({ length: 1 + this.#below(most) }, make).join(between)
  }
  #maybe(make: () => string): string {
    return this.#random.chance(2) ? ` ${make()}` : ''
  }
  #fresh(): string {
    this.#names += 1
    return `k${this.#names}`
  }

  #query(depth: number): string {
    return this.#one(
      () => this.#free(depth) + this.#maybe(() => 'order by 1 limit 3'),
      () => {
        const types = this.#types()
        const op = this.#pick(['union', 'union all', 'intersect', 'except'])
        return `${this.#fixed(types, depth)} ${op} (${this.#fixed(types, depth)})${this.#maybe(() => 'order by 1')}`
      },
      () => `select distinct ${this.#free(depth).slice('select '.length)}`,
      () => `${this.#with()} ${this.#free(depth)}`,
    )
  }

  #types(): Type[] {
    return Array.from({ length: 1 + this.#below(2) }, () => this.#pick(['int', 'text']))
  }

  /** A WITH whose tables are all used by the statement that follows, which is a SELECT. */
  #with(): string {
    const name = this.#fresh()
    const types = this.#types()
    const names = types.map(() => this.#fresh())
    const inner = this.#one(
      () => this.#fixed(types, 1),
      () => this.#change(true, types),
    )
    const later = this.#fresh()
    this.#ctes = later
    return `with ${name}(${names.join(', ')}) as (${inner}), ${later} as (select * from ${name})`
  }

  /** The table of a WITH that the next SELECT has to show. */
  #ctes: string | null = null

  /** SELECT of anything; what is derived is shown whole. */
  #free(depth: number): string {
    const cte = this.#ctes
    this.#ctes = null
    const items = Array.from({ length: 1 + this.#below(2) }, () => this.#item(depth))
    const shown = items.filter((item) => item.derived).map((item) => `${item.alias}.*`)
    if (cte !== null) {
      const alias = this.#fresh()
      items.push({ sql: `${cte} as ${alias}`, alias, columns: {}, derived: true })
      shown.push(`${alias}.*`)
    }
    const targets = this.#many(2, () => this.#target(items))
    const from = items.map((item) => item.sql).join(', ')
    return `select ${[...shown, targets].join(', ')} from ${from}${this.#maybe(() => `where ${this.#condition(items, depth)}`)}`
  }

  /** SELECT of columns of these types, from tables and views alone. */
  #fixed(types: readonly Type[], depth: number): string {
    const items = Array.from({ length: 1 + this.#below(2) }, () => this.#plain())
    const list = types.map((type) => `${this.#value(type, items, depth)} as ${this.#fresh()}`)
    const from = items.map((item) => item.sql).join(' cross join ')
    return `select ${list.join(', ')} from ${from}${this.#maybe(() => `where ${this.#condition(items, depth)}`)}`
  }

  #plain(from: Readonly<Record<string, Columns>> = relations): Item {
    const name = this.#pick(Object.keys(from))
    const alias = this.#fresh()
    return { sql: `${name} as ${alias}`, alias, columns: from[name] ?? {}, derived: false }
  }

  #item(depth: number): Item {
    if (depth <= 0 || !this.#random.chance(2))
      return this.#random.chance(3) ? this.#join(depth) : this.#plain()
    const alias = this.#fresh()
    const types = this.#types()
    const inner = this.#fixed(types, depth - 1)
    const names = types.map(() => this.#fresh())
    const columns = Object.fromEntries(names.map((name, index) => [name, types[index] ?? 'int']))
    return { sql: `(${inner}) as ${alias}(${names.join(', ')})`, alias, columns, derived: true }
  }

  /** A join, of which the left side's columns may be used. */
  #join(depth: number): Item {
    const [left, right] = [this.#plain(), this.#plain()]
    const common = Object.keys(left.columns).filter((name) => Object.hasOwn(right.columns, name))
    const kind = this.#pick(['join', 'left join', 'full join'])
    const sql = this.#one(
      () =>
        `${left.sql} ${kind} ${right.sql} ${common.length > 0 ? `using (${this.#pick(common)})` : 'on true'}`,
      () =>
        `${left.sql} ${kind} ${right.sql} on ${this.#value('int', [left], 0)} = ${this.#value('int', [right], 0)}`,
      () =>
        `${left.sql} cross join lateral (select from ${right.sql} where ${this.#condition([left, right], depth)}) as ${this.#fresh()}`,
    )
    return { ...left, sql }
  }

  #target(items: readonly Item[]): string {
    const plain = items.filter((item) => !item.derived && item.alias !== '')
    return this.#one(
      () => this.#value(this.#pick(['int', 'text']), items, 1),
      () => `${this.#value('int', items, 0)} + 1`,
      () => (plain.length > 0 ? `to_json(${this.#pick(plain).alias})` : '1'),
      () => (plain.length > 0 ? `${this.#pick(plain).alias}.*` : '1'),
      () => (plain.length > 0 ? `${this.#pick(plain).alias}::text` : '1'),
      () =>
        `row_number() over (partition by ${this.#value('text', items, 0)} order by ${this.#value('int', items, 0)})`,
    )
  }

  #value(type: Type, items: readonly Item[], depth: number): string {
    const columns = items.flatMap((item) =>
      Object.entries(item.columns)
        .filter(([, of]) => of === type)
        .map(([name]) => `${item.alias}.${name}`),
    )
    // Not literals: with those PostgreSQL folds conditions, and then leaves out sub-selects and their privileges.
    const constant = type === 'int' ? 'pg_backend_pid()' : 'version()'
    const column = (): string => (columns.length > 0 ? this.#pick(columns) : constant)
    if (depth < 0) return column()
    const again = (of: Type): string => this.#value(of, items, depth - 1)
    return this.#one(
      column,
      column,
      column,
      () => constant,
      () => (type === 'int' ? `length(${again('text')})` : `lower(${again('text')})`),
      () => (type === 'int' ? `f(${again('int')})` : `other.g(${again('text')})`),
      () => `coalesce(${again(type)}, ${again(type)})`,
      () => `case when ${this.#condition(items, depth - 1)} then ${again(type)} else ${again(type)} end`,
      () => `(${this.#fixed([type], depth - 1)} limit 1)`,
      () => `(array(${this.#fixed([type], depth - 1)}))[1]`,
      () =>
        type === 'int'
          ? `(select count(*)::int from ${this.#plain().sql})`
          : `${again('text')} || ${again('int')}`,
    )
  }

  #condition(items: readonly Item[], depth: number): string {
    const value = (type: Type): string => this.#value(type, items, depth - 1)
    return this.#one(
      () => `${value('int')} < ${value('int')}`,
      () => `${value('text')} like 'a%'`,
      () => `${value('int')} is null`,
      () => `${value('int')} in (${this.#fixed(['int'], depth - 1)})`,
      () => `${value('text')} = any (${this.#fixed(['text'], depth - 1)})`,
      () => {
        const inner = this.#plain()
        return `exists (select from ${inner.sql} where ${this.#value('int', [...items, inner], 0)} = 1)`
      },
      () => `not (${value('int')} = 1 or ${value('text')} <> 'b')`,
    )
  }

  /** INSERT, UPDATE, DELETE or MERGE; `returning` makes it give rows, of these types where they are given. */
  #change(returning = false, types: readonly Type[] | null = null): string {
    const name = this.#pick(['a', 'public.b', 'other.a', 'parted', 'simple', 'over'])
    const columns = relations[name] ?? {}
    const alias = this.#fresh()
    const target: Item = { sql: `${name} as ${alias}`, alias, columns, derived: false }
    const entries = Object.entries(columns)
    const [column, type] = this.#pick(entries)
    const show = (items: readonly Item[]): string => {
      if (types !== null) return ` returning ${types.map((of) => this.#value(of, items, 0)).join(', ')}`
      return returning || this.#random.chance(3) ? ` returning ${this.#target(items)}` : ''
    }
    const set = (items: readonly Item[]): string =>
      this.#one(
        () => `${column} = ${this.#value(type, items, 1)}`,
        () => `(${column}) = (${this.#fixed([type], 0)} limit 1)`,
      )
    const source = this.#plain()
    const both = [target, source]
    return this.#one(
      () => {
        const values = this.#one(
          () => this.#fixed([type], 1),
          () => `values (${this.#value(type, [], 1)})`,
          () => (type === 'int' ? "select nextval('public.n')::int" : 'values (default)'),
        )
        const key = name === 'a' || name === 'other.a'
        const conflict = key
          ? this.#maybe(() =>
              this.#pick(['on conflict do nothing', `on conflict (x) do update set ${set([target])}`]),
            )
          : ''
        return `insert into ${target.sql} (${column}) ${values}${conflict}${show([target])}`
      },
      () =>
        `update ${target.sql} set ${set([target])}${this.#maybe(() => `where ${this.#condition([target], 1)}`)}${show([target])}`,
      () =>
        `update ${target.sql} set ${set(both)} from ${source.sql} where ${this.#condition(both, 1)}${show(both)}`,
      () =>
        `delete from ${target.sql}${this.#maybe(() => `where ${this.#condition([target], 1)}`)}${show([target])}`,
      () => `delete from ${target.sql} using ${source.sql} where ${this.#condition(both, 1)}${show(both)}`,
      () => {
        const matched = this.#pick([
          `update set ${column} = ${this.#value(type, both, 0)}`,
          'delete',
          'do nothing',
        ])
        const insert = this.#pick([
          `insert (${column}) values (${this.#value(type, [source], 0)})`,
          'do nothing',
        ])
        const on = `${this.#value('int', [target], 0)} = ${this.#value('int', [source], 0)}`
        return `merge into ${target.sql} using ${source.sql} on ${on} when matched then ${matched} when not matched then ${insert}${show(both)}`
      },
    )
  }
}
