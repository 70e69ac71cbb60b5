// Kinds of statements and objects, as PostgreSQL's grammar names them.

export type Group = 'ddl' | 'admin'

/**
 * Statements that define things: the action, its group, the field with the name of what it is done to, and how that
 * name is read: `new` is made in the first schema of the path, `relation` is looked up, `named` is an object of a
 * schema, `global` has no schema, `schema` is a schema (its resource is `name.*`: all that is in it).
 */
export const definitions: Readonly<
  Record<
    string,
    readonly [
      action: string,
      group: Group,
      field: string,
      name: 'new' | 'relation' | 'named' | 'global' | 'schema',
    ]
  >
> = {
  CreateStmt: ['create-table', 'ddl', 'relation', 'new'],
  CreateSeqStmt: ['create-sequence', 'ddl', 'sequence', 'new'],
  AlterSeqStmt: ['alter-sequence', 'ddl', 'sequence', 'relation'],
  IndexStmt: ['create-index', 'ddl', 'relation', 'relation'],
  CreateSchemaStmt: ['create-schema', 'ddl', 'schemaname', 'schema'],
  CreateFunctionStmt: ['create-function', 'ddl', 'funcname', 'named'],
  AlterFunctionStmt: ['alter-function', 'ddl', 'func', 'named'],
  CreateTrigStmt: ['create-trigger', 'ddl', 'relation', 'relation'],
  RuleStmt: ['create-rule', 'ddl', 'relation', 'relation'],
  CreateDomainStmt: ['create-domain', 'ddl', 'domainname', 'named'],
  AlterDomainStmt: ['alter-domain', 'ddl', 'typeName', 'named'],
  CreateEnumStmt: ['create-type', 'ddl', 'typeName', 'named'],
  AlterEnumStmt: ['alter-type', 'ddl', 'typeName', 'named'],
  CreateRangeStmt: ['create-type', 'ddl', 'typeName', 'named'],
  CompositeTypeStmt: ['create-type', 'ddl', 'typevar', 'new'],
  AlterTypeStmt: ['alter-type', 'ddl', 'typeName', 'named'],
  DefineStmt: ['create', 'ddl', 'defnames', 'named'],
  CreateStatsStmt: ['create-statistics', 'ddl', 'defnames', 'named'],
  AlterStatsStmt: ['alter-statistics', 'ddl', 'defnames', 'named'],
  CreateConversionStmt: ['create-conversion', 'ddl', 'conversion_name', 'named'],
  CreateOpClassStmt: ['create-operator-class', 'ddl', 'opclassname', 'named'],
  CreateOpFamilyStmt: ['create-operator-family', 'ddl', 'opfamilyname', 'named'],
  AlterOpFamilyStmt: ['alter-operator-family', 'ddl', 'opfamilyname', 'named'],
  AlterOperatorStmt: ['alter-operator', 'ddl', 'opername', 'named'],
  AlterTSDictionaryStmt: ['alter-text-search-dictionary', 'ddl', 'dictname', 'named'],
  AlterTSConfigurationStmt: ['alter-text-search-configuration', 'ddl', 'cfgname', 'named'],
  AlterCollationStmt: ['alter-collation', 'ddl', 'collname', 'named'],
  CreateCastStmt: ['create-cast', 'admin', 'sourcetype', 'named'],
  CreateTransformStmt: ['create-transform', 'admin', 'type_name', 'named'],
  CreatePolicyStmt: ['create-policy', 'admin', 'table', 'relation'],
  AlterPolicyStmt: ['alter-policy', 'admin', 'table', 'relation'],
  CreateEventTrigStmt: ['create-event-trigger', 'admin', 'trigname', 'global'],
  AlterEventTrigStmt: ['alter-event-trigger', 'admin', 'trigname', 'global'],
  CreatePLangStmt: ['create-language', 'admin', 'plname', 'global'],
  CreateAmStmt: ['create-access-method', 'admin', 'amname', 'global'],
  CreateRoleStmt: ['create-role', 'admin', 'role', 'global'],
  AlterRoleStmt: ['alter-role', 'admin', 'role', 'global'],
  AlterRoleSetStmt: ['alter-role', 'admin', 'role', 'global'],
  DropRoleStmt: ['drop-role', 'admin', 'roles', 'global'],
  CreatedbStmt: ['create-database', 'admin', 'dbname', 'global'],
  AlterDatabaseStmt: ['alter-database', 'admin', 'dbname', 'global'],
  AlterDatabaseRefreshCollStmt: ['alter-database', 'admin', 'dbname', 'global'],
  AlterDatabaseSetStmt: ['alter-database', 'admin', 'dbname', 'global'],
  DropdbStmt: ['drop-database', 'admin', 'dbname', 'global'],
  CreateTableSpaceStmt: ['create-tablespace', 'admin', 'tablespacename', 'global'],
  DropTableSpaceStmt: ['drop-tablespace', 'admin', 'tablespacename', 'global'],
  AlterTableSpaceOptionsStmt: ['alter-tablespace', 'admin', 'tablespacename', 'global'],
  AlterTableMoveAllStmt: ['alter-tablespace', 'admin', 'orig_tablespacename', 'global'],
  CreateExtensionStmt: ['create-extension', 'admin', 'extname', 'global'],
  AlterExtensionStmt: ['alter-extension', 'admin', 'extname', 'global'],
  AlterExtensionContentsStmt: ['alter-extension', 'admin', 'extname', 'global'],
  CreateFdwStmt: ['create-foreign-data-wrapper', 'admin', 'fdwname', 'global'],
  AlterFdwStmt: ['alter-foreign-data-wrapper', 'admin', 'fdwname', 'global'],
  CreateForeignServerStmt: ['create-server', 'admin', 'servername', 'global'],
  AlterForeignServerStmt: ['alter-server', 'admin', 'servername', 'global'],
  CreateUserMappingStmt: ['create-user-mapping', 'admin', 'servername', 'global'],
  AlterUserMappingStmt: ['alter-user-mapping', 'admin', 'servername', 'global'],
  DropUserMappingStmt: ['drop-user-mapping', 'admin', 'servername', 'global'],
  ImportForeignSchemaStmt: ['import-foreign-schema', 'admin', 'local_schema', 'schema'],
  CreatePublicationStmt: ['create-publication', 'admin', 'pubname', 'global'],
  AlterPublicationStmt: ['alter-publication', 'admin', 'pubname', 'global'],
  CreateSubscriptionStmt: ['create-subscription', 'admin', 'subname', 'global'],
  AlterSubscriptionStmt: ['alter-subscription', 'admin', 'subname', 'global'],
  DropSubscriptionStmt: ['drop-subscription', 'admin', 'subname', 'global'],
  AlterSystemStmt: ['alter-system', 'admin', '', 'global'],
  DropOwnedStmt: ['drop-owned', 'admin', 'roles', 'global'],
  ReassignOwnedStmt: ['reassign-owned', 'admin', 'roles', 'global'],
  GrantRoleStmt: ['grant-role', 'admin', 'granted_roles', 'global'],
  AlterDefaultPrivilegesStmt: ['alter-default-privileges', 'admin', '', 'global'],
  LoadStmt: ['load', 'admin', '', 'global'],
  CheckPointStmt: ['checkpoint', 'admin', '', 'global'],
  ClusterStmt: ['cluster', 'ddl', 'relation', 'relation'],
  RefreshMatViewStmt: ['refresh', 'ddl', 'relation', 'relation'],
}

/** Kinds of object that stand outside a schema, or decide who may do what: theirs is the group `admin`. */
export const adminKinds: ReadonlySet<string> = new Set(
  `ACCESS_METHOD CAST DATABASE DEFACL EVENT_TRIGGER EXTENSION FDW FOREIGN_SERVER LANGUAGE LARGEOBJECT PARAMETER_ACL POLICY
  PUBLICATION ROLE SUBSCRIPTION TABLESPACE TRANSFORM USER_MAPPING`
    .split(/\s+/)
    .map((kind) => `OBJECT_${kind}`),
)
/** Those that have no schema. */
export const globalKinds: ReadonlySet<string> = new Set(
  [...adminKinds].filter((kind) => !/CAST|POLICY|TRANSFORM/.test(kind)),
)
/** Kinds that are relations, or are named as one. */
export const relationKinds: ReadonlySet<string> = new Set(
  ['TABLE', 'VIEW', 'MATVIEW', 'FOREIGN_TABLE', 'SEQUENCE', 'INDEX'].map((kind) => `OBJECT_${kind}`),
)
/** Named as `relation.name`: done to the relation. */
export const ofRelationKinds: ReadonlySet<string> = new Set(
  ['TRIGGER', 'RULE', 'POLICY', 'TABCONSTRAINT', 'COLUMN'].map((kind) => `OBJECT_${kind}`),
)

/** Kinds of ALTER TABLE that decide who may do what or whether rules hold, and so are `admin` too. */
export const adminAlters =
  /^AT_(ChangeOwner|(En|Dis)able(RowSecurity|Trig|Rule|Always|Replica)\w*|(No)?Force\w*|DisableTrig\w*)$/
