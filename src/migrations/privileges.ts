import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import type { MigrationPlan } from './plan.js';
import { migrationRefused } from './refusal.js';

/**
 * Checks before the first migration what would otherwise fail halfway: that the user may create in the schema, and
 * that the roles exist or the user may create them.
 *
 * @throws CrmSchemaError `migration_refused`, with the statement that fixes it
 */
export async function checkPrivileges(
  client: DedicatedConnection,
  { migrations }: MigrationPlan,
): Promise<void> {
  await checkMayCreate(client);
  if (migrations.some(({ name }) => name === '0010_add_row_level_security')) await checkRoles(client);
}

async function checkMayCreate(client: DedicatedConnection): Promise<void> {
  const { rows } = await client.query(
    `select
       current_user as user,
       pg_catalog.current_schema() as schema,
       pg_catalog.format('grant create on schema %I to %I', pg_catalog.current_schema(), current_user) as statement
     where not pg_catalog.has_schema_privilege(pg_catalog.current_schema()::text, 'create')`,
  );
  for (const { user, schema, statement } of rows) {
    throw migrationRefused(
      `User ${user} may not create objects in schema ${schema}. As the schema's owner, run: ${statement};`,
    );
  }
}

async function checkRoles(client: DedicatedConnection): Promise<void> {
  const { rows } = await client.query(
    `select
       pg_catalog.string_agg(role, ', ' order by place) as "missingRoles",
       pg_catalog.string_agg('create role ' || role || ' nologin;', ' ' order by place) as statements,
       current_user::text as user
     from pg_catalog.unnest(array['crm_app', 'crm_worker', 'crm_reader']::text[]) with ordinality as list (role, place)
     where pg_catalog.to_regrole(role) is null
       and not exists (
         select
         from pg_catalog.pg_roles
         where rolname = current_user
           and (rolsuper or rolcreaterole)
       )
     having pg_catalog.count(*) > 0`,
  );
  for (const { missingRoles, user, statements } of rows) {
    throw migrationRefused(
      `The roles ${missingRoles} are missing, and user ${user} may not create roles. As a user with CREATEROLE, run: ${statements}`,
    );
  }
}
