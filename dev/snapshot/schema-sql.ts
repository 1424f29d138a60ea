import { printable } from '../../src/verify/difference.js';
import { dump, type SnapshotDatabase } from './database.js';

/**
 * The text of schema.sql: pg_dump's, without what was there before the migrations and what varies.
 *
 * @throws Error if pg_dump writes in another form than this understands
 */
export async function schemaSql({ client, hostDump }: SnapshotDatabase): Promise<string> {
  const hostObjects = new Set(split(hostDump).objects);
  const { preamble, objects } = split(await dump(client));
  const { rows } = await client.query<{ version: string; roles: string }>(`
    select
      current_setting('server_version_num')::integer / 10000 as version,
      (select string_agg(rolname, ', ' order by rolname) from pg_roles where rolname ^@ 'crm_') as roles
  `);
  const [{ version, roles }] = rows as [{ version: string; roles: string | null }];
  return [
    `-- The whole schema that the migrations make, as pg_dump of PostgreSQL ${version} writes it: for reading, and for
-- seeing in a diff what a migration does. To set up or change a database, run the migrations.
--
-- Left out: owners; NurtureHub's own tables, but not the index on contacts; node-pg-migrate's table; and the
-- monthly partitions of crm_sync_log, which are made like crm_sync_log_catch_all, shown here as it is before
-- the first month.
--${roles === null ? '' : `\n-- Roles belong to the cluster, so that pg_dump names them and does not create them: ${roles}.\n--`}
-- Made by npm run snapshot. Do not edit.
`,
    `${preamble}\n`,
    ...objects.filter((object) => !hostObjects.has(object)).map((object) => `${object}\n`),
  ].join('\n');
}

/** The settings at the beginning of a dump, and its objects, each with its heading. */
function split(dumped: string): { preamble: string; objects: string[] } {
  const [head, ...objects] = dumped.split(/^--\n(?=-- Name: )/m);
  const preamble = head?.match(/^SET [\s\S]*;$/m)?.[0];
  if (preamble === undefined || objects.length === 0) throw new Error('pg_dump wrote no schema.');
  return {
    preamble,
    objects: objects.map((object) =>
      printable(
        `--\n${object.replace(/(\n--\n-- PostgreSQL database dump complete[\s\S]*)$/, '')}`.trimEnd(),
      ),
    ),
  };
}
