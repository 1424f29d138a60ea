import type { Catalog } from '../../src/catalog/facts.js';
import type { GrantFacts } from '../../src/catalog/grant-facts.js';
import { readCatalog } from '../../src/catalog/read.js';
import type { PolicyFacts } from '../../src/catalog/relation-facts.js';
import type { ColumnFacts, ConstraintFacts } from '../../src/catalog/table-facts.js';
import type { SnapshotDatabase } from './database.js';
import type { Column, Constraint, Part, Privilege, Schema, Table } from './schema.js';

const scope = {
  relations:
    "select oid from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')",
  functions: "select oid from pg_proc where pronamespace = 'public'::regnamespace",
  withInherited: false,
};

/** Reads the schema that the migrations created, in a session that finds it by its search_path. */
export async function readSchema({ client, hostRelations }: SnapshotDatabase): Promise<Schema> {
  const catalog = await readCatalog(client, scope);
  const { rows: versions } = await client.query<{ version: string }>(
    "select (current_setting('server_version_num')::integer / 10000)::text as version",
  );
  // Roles belong to the cluster, which is this snapshot's own.
  const { rows: roles } = await client.query<{ name: string; comment: string | null }>(
    `select rolname as name, shobj_description(oid, 'pg_authid') as comment
     from pg_roles
     where rolname ^@ 'crm_'
     order by 1`,
  );
  const tables = tablesOf(catalog).map((table) => ({ ...table, isHost: hostRelations.includes(table.name) }));
  return {
    postgresVersion: String(versions[0]?.version),
    tables: tables.map((table) => (table.isHost ? withoutHostParts(table, tables, hostRelations) : table)),
    views: catalog.relations
      .filter(({ kind }) => kind === 'view')
      .map(({ name, query, settings, comment }) => ({
        name,
        definition: [...(settings ?? []).map((setting) => `-- ${setting}`), query ?? ''].join('\n'),
        comment,
      })),
    functions: catalog.functions.map(({ name, signature, result, comment, ...facts }) => ({
      name,
      signature,
      result,
      comment,
      properties: [
        facts.language,
        facts.volatility,
        ...(facts.isStrict ? ['strict'] : []),
        ...(facts.parallel === 'unsafe' ? [] : [`parallel ${facts.parallel}`]),
        ...(facts.isSecurityDefiner ? ['security definer'] : []),
        ...(facts.settings ?? []).map((setting) => `set ${setting}`),
      ],
    })),
    roles,
    privileges: catalog.grants
      .filter(({ isToOwner }) => !isToOwner)
      .flatMap((grant) => privilegesOf(grant, catalog)),
  };
}

/** Tables that are not partitions, in the order in which they were created. */
function tablesOf(catalog: Catalog): Omit<Table, 'isHost'>[] {
  const nameOf = (qualified: string) =>
    catalog.relations.find((relation) => relation.qualified === qualified)?.name ?? qualified;
  return catalog.relations
    .filter(({ kind, isPartition }) => kind === 'table' && !isPartition)
    .map(({ name, qualified, comment, partitionKey, settings, hasRowSecurity, isRowSecurityForced }) => {
      const ofTable = <Facts extends { relation: string }>(facts: readonly Facts[]) =>
        facts.filter(({ relation }) => relation === qualified);
      return {
        name,
        comment,
        partitionKey,
        settings,
        rowSecurity: isRowSecurityForced ? 'forced' : hasRowSecurity ? 'on' : 'off',
        columns: ofTable(catalog.columns).map(columnOf),
        constraints: ofTable(catalog.constraints)
          .filter(({ type }) => type !== 'n' && type !== 't')
          .map((constraint) => constraintOf(constraint, nameOf)),
        indexes: ofTable(catalog.indexes)
          .filter(({ isOfConstraint }) => !isOfConstraint)
          .map((index) => ({
            name: index.name,
            definition: `${index.isUnique ? 'UNIQUE ' : ''}${index.definition}`,
            comment: index.comment,
            isUnique: index.isUnique,
            columns: index.columns ?? [],
            predicate: index.predicate,
          })),
        triggers: ofTable(catalog.triggers).map((trigger) => ({
          name: trigger.name,
          definition: trigger.definition,
          comment: trigger.comment,
        })),
        policies: ofTable(catalog.policies).map(policyOf),
      };
    });
}

function columnOf({
  name,
  type,
  collation,
  isNotNull,
  identity,
  generated,
  expression,
  comment,
}: ColumnFacts): Column {
  const plain = expression === null ? null : `default ${expression}`;
  return {
    name,
    type: collation === null ? type : `${type} collate ${collation}`,
    isNullable: !isNotNull,
    default:
      identity !== null
        ? `generated ${identity} as identity`
        : generated !== null
          ? `generated always as (${expression}) ${generated}`
          : plain,
    comment,
  };
}

function constraintOf(
  { name, type, definition, columns, references, comment }: ConstraintFacts,
  nameOf: (qualified: string) => string,
): Constraint {
  return {
    name,
    kind: type as Constraint['kind'],
    definition,
    columns: columns ?? [],
    references:
      references === null
        ? null
        : { table: nameOf(references.relation), columns: references.columns, onDelete: references.onDelete },
    comment,
  };
}

function policyOf({ name, isPermissive, command, roles, using, check, comment }: PolicyFacts): Part {
  const definition = [
    ...(isPermissive ? [] : ['AS RESTRICTIVE']),
    `FOR ${command.toUpperCase()} TO ${roles.map((role) => (role === 'public' ? 'PUBLIC' : role)).join(', ')}`,
    ...(using === null ? [] : [`USING (${using})`]),
    ...(check === null ? [] : [`WITH CHECK (${check})`]),
  ].join(' ');
  return { name, definition, comment };
}

/** The privileges of a grantee on an object, by name; those on columns after the same on the whole. */
function privilegesOf({ kind, name: qualified, grantee, grants }: GrantFacts, catalog: Catalog): Privilege[] {
  const object =
    kind === 'function'
      ? catalog.functions.find((each) => each.qualified === qualified)?.name
      : catalog.relations.find((each) => each.qualified === qualified)?.name;
  const privileges = new Map<string, Privilege>();
  for (const { privilege, column } of grants) {
    const key = `${privilege} ${column === null ? 1 : 2}`;
    const columns = privileges.get(key)?.columns ?? [];
    privileges.set(key, {
      object: object ?? qualified,
      objectKind: kind === 'function' ? 'function' : 'table',
      role: grantee,
      privilege,
      columns: column === null ? null : [...columns, column],
    });
  }
  return [...privileges].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, privilege]) => privilege);
}

/** A host table with only the columns that our foreign keys reference, and our indexes. */
function withoutHostParts(table: Table, tables: Table[], hostRelations: readonly string[]): Table {
  const referencedColumns = tables
    .filter(({ isHost }) => !isHost)
    .flatMap(({ constraints }) => constraints)
    .flatMap(({ references }) => (references?.table === table.name ? references.columns : []));
  return {
    ...table,
    columns: table.columns.filter(({ name }) => referencedColumns.includes(name)),
    constraints: table.constraints.filter(({ kind }) => kind === 'p'),
    indexes: table.indexes.filter(({ name }) => !hostRelations.includes(name)),
  };
}
