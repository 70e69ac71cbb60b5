import { textTypes } from './text-types.ts'

/** A function of a longer source may read anything. */
const maxSource = 100_000

// PostgreSQL 13 to 18. The search_path is empty, so that every operator and function here is PostgreSQL's own.
const own = `nspname <> 'information_schema' and nspname !~ '^pg_'`

/** What is asked of a database, in the order in which the answers are read. */
export const queries = {
  schemas: `select nspname from pg_catalog.pg_namespace where nspname !~ '^pg_(toast|temp)'`,
  count: `select count(*) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where ${own} and relkind in ('r','p','v','m','f','S')`,
  relations: `select c.oid, nspname, relname, relkind,
      case when relkind in ('v','m') then pg_catalog.pg_get_viewdef(c.oid) end
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where ${own} and relkind in ('r','p','v','m','f','S')`,
  // A domain is what it is made of, what has columns of its own is a record, and a range is a range of whatever.
  columns: `with recursive domains(oid, made) as (
      select oid, typbasetype from pg_catalog.pg_type where typtype = 'd'
      union all select d.oid, t.typbasetype from domains d join pg_catalog.pg_type t on t.oid = d.made where t.typtype = 'd'
    ), bases as materialized (
      select d.oid, made from domains d join pg_catalog.pg_type t on t.oid = d.made where t.typtype <> 'd'
    ) select attrelid, attnum, attname, case when t.typtype = 'c' then 'record' when e.typtype = 'c' then 'record[]' when t.typtype in ('r', 'm') then 'range'
        else pg_catalog.format_type(t.oid, null) end
    from pg_catalog.pg_attribute a left join bases b on b.oid = atttypid
      join pg_catalog.pg_type t on t.oid = coalesce(b.made, atttypid) left join pg_catalog.pg_type e on e.oid = t.typelem
      join pg_catalog.pg_class c on c.oid = attrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where ${own} and relkind in ('r','p','v','m','f','S') and attnum > 0 and not attisdropped
    order by attrelid, attnum`,
  // A generated column depends on those of its expression; since 15 it is the expression that does.
  generated: `select distinct a.attrelid, a.attnum, d.refobjsubid from pg_catalog.pg_attribute a
    left join pg_catalog.pg_attrdef e on e.adrelid = a.attrelid and e.adnum = a.attnum
    join pg_catalog.pg_depend d on (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = a.attrelid and d.objsubid = a.attnum)
      or (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = e.oid)
    where attgenerated <> '' and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = a.attrelid
      and d.refobjsubid <> a.attnum`,
  // A view's rule depends on the columns it reads; on column 0 when it reads a whole row.
  views: `select distinct r.ev_class, d.refobjid, d.refobjsubid
    from pg_catalog.pg_rewrite r
      join pg_catalog.pg_depend d on d.objid = r.oid and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
      join pg_catalog.pg_class c on c.oid = r.ev_class
    where r.rulename = '_RETURN' and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      and d.refobjid <> r.ev_class and c.relkind in ('v','m')`,
  // Rows of a child show in its parents, so its columns are theirs, by name (a child's column keeps its parent's name).
  keys: `select attrelid, attname from pg_catalog.pg_index i
    join pg_catalog.pg_attribute a on attrelid = indrelid and attnum = any (indkey)
    join pg_catalog.pg_class c on c.oid = indrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where ${own} and indisprimary`,
  inherits: `select inhrelid, inhparent from pg_catalog.pg_inherits i
    join pg_catalog.pg_class c on c.oid = inhrelid where relkind in ('r','p','f')`,
  functions: `select distinct nspname, proname from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace where ${own}`,
  // Types whose values run a user's function when they are made, or may fail by what they are given where nobody expects it
  // (named as one to which anything can be cast): domains with such a check, targets of such casts, and
  // what is made of them (arrays, rows, ranges and domains over them: each depends on the type that it is made of).
  types: `with recursive running(oid) as (
      select k.contypid from pg_catalog.pg_constraint k
        join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
          and d.objid = k.oid and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
        where k.contypid <> 0
      union select casttarget from pg_catalog.pg_cast c
        join pg_catalog.pg_proc p on p.oid = castfunc
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        join pg_catalog.pg_language l on l.oid = p.prolang
        where ${own} and lanname not in ('c', 'internal')
      union select t.oid from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = typnamespace
        where ${own} and typname in (${[...textTypes].map((name) => `'${name}'`).join()})
      union select t.oid from running r join pg_catalog.pg_type t on t.typelem = r.oid
        or exists (select 1 from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
          and d.objid = t.oid and d.refclassid = d.classid and d.refobjid = r.oid)
        or exists (select 1 from pg_catalog.pg_attribute a where a.attrelid = t.typrelid and a.atttypid = r.oid)
    ) select distinct nspname, typname, t.oid from running join pg_catalog.pg_type t using (oid)
      join pg_catalog.pg_namespace n on n.oid = t.typnamespace`,
  // Casts that are tried where no text names them: on the way into a column of the target type and, of a user's type, wherever
  // a column of it meets another value.
  casts: `with own as materialized (
      select castsource, casttarget, castcontext = 'i' as unasked, nspname, proname from pg_catalog.pg_cast
        join pg_catalog.pg_proc p on p.oid = castfunc join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        join pg_catalog.pg_language l on l.oid = p.prolang
      where ${own} and lanname not in ('c', 'internal') and castcontext in ('a', 'i')
    ), met as materialized (
      select casttarget as oid, true as put, own.* from own
      union all select t.oid, true, own.* from own join pg_catalog.pg_type t on t.typbasetype = casttarget
      union all select castsource, false, own.* from own
    ) select distinct attrelid, nspname, proname,
        unasked and t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace, put
      from met join pg_catalog.pg_type t using (oid) join pg_catalog.pg_attribute on atttypid = oid
      where attnum > 0 and not attisdropped`,
  // Operators of extensions are made in C; one that SQL, a procedural language or a built-in function implements may do
  // anything.
  operators: `select distinct n.nspname, oprname, f.nspname, proname from pg_catalog.pg_operator o
    join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
    join pg_catalog.pg_proc p on p.oid = o.oprcode join pg_catalog.pg_language l on l.oid = p.prolang
    join pg_catalog.pg_namespace f on f.oid = p.pronamespace
    where n.${own.replace(' and ', ' and n.')} and lanname <> 'c'`,
  // What gets its values from users' functions, by the names that stand for it: aggregates, and the targets of casts.
  parts: `select distinct n.nspname, p.proname, f.nspname, part.proname from pg_catalog.pg_aggregate a
      join pg_catalog.pg_proc p on p.oid = aggfnoid join pg_catalog.pg_namespace n on n.oid = p.pronamespace
      join pg_catalog.pg_proc part on part.oid in (aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn,
        aggminvtransfn, aggmfinalfn) join pg_catalog.pg_namespace f on f.oid = part.pronamespace
      where n.${own.replace(' and ', ' and n.')}
    union select n.nspname, typname, f.nspname, proname from pg_catalog.pg_cast
      join pg_catalog.pg_proc on pg_proc.oid = castfunc join pg_catalog.pg_namespace f on f.oid = pronamespace
      join pg_catalog.pg_type t on t.oid = casttarget join pg_catalog.pg_namespace n on n.oid = typnamespace
      where f.${own.replace(' and ', ' and f.')}`,
  // What users' functions read stands in their sources, in the defaults of their arguments, and for those kept as a tree in
  // what the server writes of it, and in what they depend on.
  sources: `select nspname, proname, lanname, case when pg_catalog.length(prosrc) <= ${maxSource} then
        pg_catalog.concat(case when prosrc = '' then pg_catalog.pg_get_functiondef(p.oid) else prosrc end, ' ',
          pg_catalog.pg_get_expr(proargdefaults, 0)) end, p.oid
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
      join pg_catalog.pg_language l on l.oid = p.prolang
    where ${own} and lanname not in ('c', 'internal')`,
  sourceReads: `select distinct d.objid, d.refobjid, d.refobjsubid from pg_catalog.pg_depend d
    where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass`,
}
