// Settings that a session may change without a rule, because they cannot change what a statement means to the gateway,
// whose rights it has, or what others see. Source: PostgreSQL 18 documentation, chapter 20, read one by one. Anything
// else is an operation `set` (group admin) on the setting's name.

const any = /^/
const utf8 = /^(utf-?8|unicode)$/i
const on = /^(on|true|yes|1|t|tr|tru|y|ye)$/i

/** Setting name (lower case) to the values that are harmless. */
export const harmlessSettings: ReadonlyMap<string, RegExp> = new Map([
  ...`application_name array_nulls bytea_output check_function_bodies client_connection_check_interval
    client_min_messages datestyle default_statistics_target default_table_access_method
    default_tablespace default_text_search_config default_toast_compression default_transaction_deferrable
    default_transaction_isolation default_transaction_read_only escape_string_warning extra_float_digits
    gin_fuzzy_search_limit hash_mem_multiplier idle_in_transaction_session_timeout idle_session_timeout
    intervalstyle jit jit_above_cost lock_timeout maintenance_work_mem plan_cache_mode quote_all_identifiers
    row_security search_path statement_timeout synchronize_seqscans tcp_keepalives_count tcp_keepalives_idle tcp_keepalives_interval temp_buffers timezone
    timezone_abbreviations transaction_deferrable transaction_isolation transaction_read_only transaction_timeout
    transform_null_equals work_mem xmlbinary xmloption`
    .split(/\s+/)
    .map((name): [string, RegExp] => [name, any]),
  // With another encoding, bytes that are quotes or backslashes to one side are parts of characters to the other.
  ['client_encoding', utf8],
  // Off, a backslash in '…' escapes what follows: the text would mean something else to the parser here.
  ['standard_conforming_strings', on],
])

/**
 * Settings that choose how a query is run. Harmless but where columns are masked: rows that come by an index come in its order,
 * which tells how each value compares with those that the client itself has put there.
 */
export const plannerSettings: ReadonlySet<string> = new Set(
  `cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction effective_cache_size enable_async_append
    enable_bitmapscan enable_gathermerge enable_hashagg enable_hashjoin enable_incremental_sort enable_indexonlyscan
    enable_indexscan enable_material enable_memoize enable_mergejoin enable_nestloop enable_parallel_append
    enable_parallel_hash enable_partition_pruning enable_partitionwise_aggregate enable_partitionwise_join
    enable_seqscan enable_sort enable_tidscan from_collapse_limit geqo join_collapse_limit
    max_parallel_workers_per_gather parallel_leader_participation random_page_cost seq_page_cost`.split(
    /\s+/,
  ),
)

/** Names of settings, mostly of applications' own, whose values are secrets. */
export const secretSetting: RegExp =
  /pass(word|wd|phrase)(?!_encryption$)|secret|token|credential|conninfo|private|jwt|key$/i
