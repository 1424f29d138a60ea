import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, inject } from 'vitest';
import { migrate, withClient } from '../../dev/database.js';
import { type TestDatabase, useDatabase } from '../support/database.js';
import { migrations } from '../support/migrations.js';
import { type Release, releases } from './releases.js';

/** The users: the owner, who deploys, and members of the roles that 0010 creates. */
export interface Logins {
  owner: string;
  application: string;
  worker: string;
}

/** Creates logins for a test file, and drops them after its databases. Call it before those are created. */
export function useLogins(): Logins {
  const suffix = randomBytes(4).toString('hex');
  const logins = {
    owner: `crm_test_owner_${suffix}`,
    application: `crm_test_application_${suffix}`,
    worker: `crm_test_worker_${suffix}`,
  };
  beforeAll(() =>
    withClient(inject('serverUrl'), (client) =>
      client.query(
        `create role ${logins.owner} createrole;
         create role ${logins.application} in role crm_app;
         create role ${logins.worker} in role crm_worker`,
      ),
    ),
  );
  afterAll(() =>
    withClient(inject('serverUrl'), (client) =>
      client.query(`drop role ${logins.owner}, ${logins.application}, ${logins.worker}`),
    ),
  );
  return logins;
}

/** Creates a database whose host tables belong to an ordinary user, who migrates; the others can read them. */
export function useInstallation({ owner, application, worker }: Logins): TestDatabase {
  const database = useDatabase('host');
  beforeAll(() =>
    database.pool.query(
      `grant create on schema public to ${owner};
       alter table organisations owner to ${owner};
       alter table contacts owner to ${owner};
       grant select on organisations, contacts to ${application}, ${worker}`,
    ),
  );
  return database;
}

/** Migrates up or down to a number, as the owner, in one transaction. */
export async function migrateTo(
  { url }: TestDatabase,
  { owner }: Logins,
  number = migrations.length,
): Promise<void> {
  await withClient(url, async (client) => {
    await client.query(`set session authorization ${owner}`);
    const { rows } = await client.query("select to_regclass('pgmigrations') is not null as is_there");
    const applied = rows[0].is_there ? await client.query('select from pgmigrations') : { rowCount: 0 };
    const steps = number - (applied.rowCount ?? 0);
    if (steps !== 0) await migrate(client, steps > 0 ? 'up' : 'down', Math.abs(steps));
  });
}

/** Installs a release, with its data and that of earlier releases. */
export async function install(
  database: TestDatabase,
  logins: Logins,
  { version, lastMigration }: Release,
): Promise<void> {
  await migrateTo(database, logins, lastMigration);
  for (const release of releases) {
    await database.pool.query(release.data);
    if (release.version === version) return;
  }
}
