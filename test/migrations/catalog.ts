import type pg from 'pg';
import { readCatalog } from '../../src/catalog/read.js';

const userSchemas =
  "select oid from pg_namespace where nspname not in ('information_schema', 'pg_catalog') and nspname !~ '^pg_(toast|temp)'";

/**
 * Everything that a migration can leave behind in a database, one line a fact, sorted: schemas, relations, columns,
 * constraints, indexes, triggers, rules, policies, sequences, functions and types, with their definitions, owners,
 * privileges and comments. node-pg-migrate's own table is left out.
 *
 * The settings of the session affect definitions: compare only what sessions of the same settings read.
 *
 * @param table optional: the lines of this table alone
 */
export async function catalog(client: pg.Pool | pg.ClientBase, table?: string): Promise<string[]> {
  const facts =
    table === undefined
      ? await readCatalog(client, {
          relations: `
            select oid
            from pg_class
            where relnamespace in (${userSchemas})
              and relname !~ '^(pgmigrations|crm_schema_migrations)'`,
          functions: `select oid from pg_proc where pronamespace in (${userSchemas})`,
          types: `select oid from pg_type where typnamespace in (${userSchemas})`,
          schemas: userSchemas,
          withInherited: true,
        })
      : await readCatalog(
          client,
          {
            relations: `select oid from pg_class where relnamespace in (${userSchemas}) and relname = $1`,
            withInherited: true,
          },
          [table],
        );
  return [
    ...linesOf('schema', facts.schemas, ({ name, ...rest }) => [name, rest]),
    ...linesOf('relation', facts.relations, ({ qualified, ...rest }) => [qualified, rest]),
    ...linesOf('sequence', facts.sequences, ({ relation, ...rest }) => [relation, rest]),
    ...linesOf('column', facts.columns, partOf),
    ...linesOf('constraint', facts.constraints, partOf),
    ...linesOf('index', facts.indexes, ({ name, ...rest }) => [name, rest]),
    ...linesOf('trigger', facts.triggers, partOf),
    ...linesOf('rule', facts.rules, partOf),
    ...linesOf('policy', facts.policies, partOf),
    ...linesOf('function', facts.functions, ({ qualified, ...rest }) => [qualified, rest]),
    ...linesOf('type', facts.types, ({ qualified, ...rest }) => [qualified, rest]),
    ...linesOf('grant', facts.grants, ({ kind, name, grantee, ...rest }) => [
      `on ${kind} ${name} to ${grantee}`,
      rest,
    ]),
  ]
    .map(withStableName)
    .toSorted();
}

/**
 * A line whose index names do not depend on which other indexes there were. PostgreSQL makes up the names of a partition's
 * indexes, and shortens a long one to be unique.
 */
function withStableName(line: string): string {
  return line.replaceAll(/(_organisation_id_internal_id_occur)\w*_idx\d*/g, '$1_idx');
}

function linesOf<Fact>(
  kind: string,
  all: readonly Fact[],
  split: (fact: Fact) => [string, object],
): string[] {
  return all.map((fact) => {
    const [name, rest] = split(fact);
    return `${kind} ${name} ${JSON.stringify(rest)}`;
  });
}

function partOf({ relation, name, ...rest }: { relation: string; name: string }): [string, object] {
  return [`${relation} ${name}`, rest];
}
