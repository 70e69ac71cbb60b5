// What lies in pg_catalog and information_schema. Source: pg_class of PostgreSQL 18.4 (relkind r and v), which contains
// those of 13 to 17 except the few named at the end. Sorted into what psql's \d commands read and what holds data or secrets.

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '')

/** Relations of pg_catalog that describe the schema: reading them comes with `read` and is no operation. */
export const schemaCatalogs: ReadonlySet<string> = new Set(
  words(`
  pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_auth_members pg_available_extension_versions
  pg_available_extensions pg_cast pg_class pg_collation pg_constraint pg_conversion pg_cursors pg_database
  pg_default_acl pg_depend pg_description pg_enum pg_event_trigger pg_extension pg_foreign_data_wrapper
  pg_foreign_table pg_group pg_index pg_indexes pg_inherits pg_init_privs pg_language pg_largeobject_metadata pg_locks
  pg_matviews pg_namespace pg_opclass pg_operator pg_opfamily pg_parameter_acl pg_partitioned_table pg_policies
  pg_policy pg_prepared_statements pg_prepared_xacts pg_proc pg_publication pg_publication_namespace
  pg_publication_rel pg_publication_tables pg_range pg_rewrite pg_roles pg_rules pg_seclabel pg_seclabels
  pg_sequence pg_sequences pg_settings pg_shdepend pg_shdescription pg_shseclabel pg_stat_all_indexes
  pg_stat_all_tables pg_stat_archiver pg_stat_bgwriter pg_stat_checkpointer pg_stat_database
  pg_stat_database_conflicts pg_stat_io pg_stat_progress_analyze pg_stat_progress_basebackup pg_stat_progress_cluster
  pg_stat_progress_copy pg_stat_progress_create_index pg_stat_progress_vacuum pg_stat_slru pg_stat_sys_indexes
  pg_stat_sys_tables pg_stat_user_functions pg_stat_user_indexes pg_stat_user_tables pg_stat_wal
  pg_stat_xact_all_tables pg_stat_xact_sys_tables pg_stat_xact_user_functions pg_stat_xact_user_tables
  pg_statio_all_indexes pg_statio_all_sequences pg_statio_all_tables pg_statio_sys_indexes pg_statio_sys_sequences
  pg_statio_sys_tables pg_statio_user_indexes pg_statio_user_sequences pg_statio_user_tables pg_statistic_ext
  pg_subscription_rel pg_tables pg_tablespace pg_timezone_abbrevs pg_timezone_names pg_transform pg_trigger
  pg_ts_config pg_ts_config_map pg_ts_dict pg_ts_parser pg_ts_template pg_type pg_user pg_views pg_wait_events
`),
)

/** Relations of pg_catalog that hold data of tables, of other sessions, or secrets: reading needs a rule that says `select`. */
export const revealingCatalogs: ReadonlySet<string> = new Set(
  words(`
  pg_aios pg_authid pg_backend_memory_contexts pg_config pg_db_role_setting pg_file_settings pg_foreign_server
  pg_hba_file_rules pg_ident_file_mappings pg_largeobject pg_replication_origin pg_replication_origin_status
  pg_replication_slots pg_shadow pg_shmem_allocations pg_shmem_allocations_numa pg_stat_activity pg_stat_gssapi
  pg_stat_recovery_prefetch pg_stat_replication pg_stat_replication_slots pg_stat_ssl pg_stat_subscription
  pg_stat_subscription_stats pg_stat_wal_receiver pg_statistic pg_statistic_ext_data pg_stats pg_stats_ext
  pg_stats_ext_exprs pg_subscription pg_user_mapping pg_user_mappings
`),
)

/** Relations of information_schema that show options of foreign servers and users, which may hold passwords. */
const revealingInformation: ReadonlySet<string> = new Set(
  words(`
  _pg_foreign_data_wrappers _pg_foreign_servers _pg_foreign_table_columns _pg_foreign_tables _pg_user_mappings
  column_options foreign_data_wrapper_options foreign_server_options foreign_table_options user_mapping_options
`),
)

/** Columns that hold no value of a user's column, of catalogs where the others may. Source: PostgreSQL 18 documentation, chapters 52 to 54. */
const valueless: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    pg_stats: `schemaname tablename attname inherited null_frac avg_width n_distinct most_common_freqs correlation
      most_common_elem_freqs elem_count_histogram range_empty_frac`,
    pg_statistic: `starelid staattnum stainherit stanullfrac stawidth stadistinct stakind1 stakind2 stakind3 stakind4
      stakind5 staop1 staop2 staop3 staop4 staop5 stacoll1 stacoll2 stacoll3 stacoll4 stacoll5 stanumbers1 stanumbers2
      stanumbers3 stanumbers4 stanumbers5`,
    pg_stats_ext: `schemaname tablename statistics_schemaname statistics_name statistics_owner attnames exprs kinds
      inherited n_distinct dependencies most_common_val_nulls most_common_freqs most_common_base_freqs`,
    pg_stats_ext_exprs: `schemaname tablename statistics_schemaname statistics_name statistics_owner expr inherited
      null_frac avg_width n_distinct most_common_freqs correlation most_common_elem_freqs elem_count_histogram`,
    pg_statistic_ext_data: `stxoid stxdinherit stxdndistinct stxddependencies`,
    // Other sessions' statements hold what they compare with masked columns and write to them.
    pg_stat_activity: `datid datname pid leader_pid usesysid usename application_name client_addr client_hostname
      client_port backend_start xact_start query_start state_change wait_event_type wait_event state backend_xid
      backend_xmin query_id backend_type`,
    // Of an extension, in whatever schema; utility statements stand there with their literals.
    pg_stat_statements: `userid dbid toplevel queryid plans total_plan_time min_plan_time max_plan_time mean_plan_time
      stddev_plan_time calls total_exec_time min_exec_time max_exec_time mean_exec_time stddev_exec_time rows
      shared_blks_hit shared_blks_read shared_blks_dirtied shared_blks_written temp_blks_read temp_blks_written wal_bytes
      stats_since`,
  }).map(([name, columns]): [string, readonly string[]] => [name, words(columns)]),
)

/** Columns that hold no value of a user's column; null where none of the relation's does. */
export function valuelessColumns(schema: string, name: string): readonly string[] | null {
  if (schema === 'pg_toast') return ['chunk_id', 'chunk_seq']
  return schema === 'pg_catalog' || name === 'pg_stat_statements' ? (valueless.get(name) ?? null) : null
}

/** What a new column is in the rows from before it: a value of a user's column among what describes columns. */
const attributes: readonly (readonly [name: string, holdsValue: boolean])[] = words(`
  attrelid attname atttypid attlen attnum attcacheoff attndims atttypmod attbyval attalign attstorage attcompression
  attnotnull atthasdef atthasmissing attidentity attgenerated attisdropped attislocal attinhcount attcollation
  attstattarget attacl attoptions attfdwoptions attmissingval
`).map((name) => [name, name === 'attmissingval'])

/** The columns of a catalog that describes the schema, and whether each holds a value of a user's column, where any does. */
export function describingColumns(schema: string, name: string): typeof attributes {
  return schema === 'pg_catalog' && name === 'pg_attribute' ? attributes : []
}

/** True for a schema of PostgreSQL's own, whose relations are not a user's data. */
export function isSystemSchema(schema: string): boolean {
  return schema === 'pg_catalog' || schema === 'information_schema' || schema === 'pg_toast'
}

/** True when reading this relation needs no rule beyond `read`. */
export function describesSchema(schema: string, name: string): boolean {
  if (schema === 'pg_catalog') return schemaCatalogs.has(name)
  return schema === 'information_schema' && !revealingInformation.has(name)
}
