import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import { insertConnection } from '../support/connection.js';
import { createTenant, insert, rolledBack, type Tenant, useDatabase } from '../support/database.js';
import { type Migration, migrations } from '../support/migrations.js';

const { pool } = useDatabase('host');

/** The table lock modes that DDL takes, weakest first. */
const modes = [
  'SHARE UPDATE EXCLUSIVE',
  'SHARE',
  'SHARE ROW EXCLUSIVE',
  'EXCLUSIVE',
  'ACCESS EXCLUSIVE',
] as const;

/** The text of one entry of the header, with its continuation lines. */
function header({ up }: Migration, name: string): string {
  const [, text = ''] = new RegExp(`^-- ${name}:((?:.*\n-- {3,})*.*)`, 'm').exec(up) ?? [];
  return text.replace(/\s*\n--\s*/g, ' ').trim();
}

/** The tables and lock modes that a text names, as `table MODE`. */
function namedLocks(text: string): string[] {
  // The longest first, because SHARE is a prefix of others.
  const names = modes.toSorted((one, other) => other.length - one.length).join('|');
  const pattern = new RegExp(`\\b([a-z_]+) (${names})\\b`, 'g');
  return [...text.matchAll(pattern)].map(([, table, mode]) => `${table} ${mode}`).sort();
}

/** The strongest lock that this transaction holds on each existing table or its partitions, as `table MODE`. */
async function heldLocks(client: pg.ClientBase, existing: string[]): Promise<string[]> {
  const { rows } = await client.query<{ table: string; mode: string }>(
    `select coalesce(inhparent, relation)::regclass::text as "table", mode
     from pg_locks
     join pg_class on pg_class.oid = relation
     left join pg_inherits on inhrelid = relation
     where pid = pg_backend_pid() and locktype = 'relation' and relation::regclass::text = any($1)`,
    [existing],
  );
  const strongest = new Map<string, number>();
  for (const { table, mode } of rows) {
    const words = mode
      .replace(/Lock$/, '')
      .replace(/\B[A-Z]/g, ' $&')
      .toUpperCase();
    const strength = (modes as readonly string[]).indexOf(words);
    strongest.set(table, Math.max(strength, strongest.get(table) ?? -1));
  }
  return [...strongest]
    .filter(([, strength]) => strength >= 0)
    .map(([table, strength]) => `${table} ${modes[strength]}`)
    .sort();
}

/** How many rows of each table and its partitions this session has read by sequential scans so far. */
async function rowsScanned(client: pg.ClientBase, existing: string[]): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; read: string }>(
    `select coalesce(inhparent, relid)::regclass::text as name, sum(seq_tup_read) as read
     from pg_stat_xact_user_tables
     left join pg_inherits on inhrelid = relid
     where relname = any($1)
     group by name`,
    [existing],
  );
  return new Map(rows.map(({ name, read }) => [name, read]));
}

async function tables(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select oid::regclass::text as name from pg_class
     where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace`,
  );
  return rows.map(({ name }) => name);
}

/** SQL without comments and literals. */
function bareSql(text: string): string {
  return text.replace(/--.*$/gm, '').replace(/'(?:[^']|'')*'/g, "''");
}

test('migrations are numbered without gaps and named verb_object', () => {
  expect(migrations.map(({ file }) => file.slice(0, 4))).toEqual(
    migrations.map((_, position) => String(position + 1).padStart(4, '0')),
  );
  for (const { file } of migrations)
    expect(file).toMatch(/^\d{4}_(prepare|create|add|alter|drop|replace|reword|validate)_[a-z0-9_]+\.sql$/);
});

describe.each(migrations)('$file', (migration) => {
  test('begins with the marker of node-pg-migrate, and has each marker once', () => {
    expect(migration.text.split('\n')[0]).toBe('-- Up Migration');
    expect(migration.text.match(/^[ \t]*--[\s-]*up\s+migration.*$/gim)).toEqual(['-- Up Migration']);
    expect(migration.text.match(/^[ \t]*--[\s-]*down\s+migration.*$/gim)).toEqual(['-- Down Migration']);
  });

  test.each(['Purpose', 'Locks', 'Scans', 'Down'])('has %s in its header', (name) => {
    expect(header(migration, name)).toMatch(/\w{3}/);
    expect(migration.text.match(new RegExp(`^-- ${name}:`, 'gm'))).toHaveLength(1);
  });

  test.each(['up', 'down'] as const)('sets lock_timeout and statement_timeout first in its %s', (half) => {
    const statements = bareSql(migration[half]).trim().split(/;\s+/);
    expect(statements.slice(0, 2)).toEqual([
      "set local lock_timeout = ''",
      "set local statement_timeout = ''",
    ]);
    const [, seconds] = /lock_timeout = '(\d+)s'/.exec(migration[half]) ?? [];
    expect(Number(seconds)).toBeGreaterThan(0);
    expect(Number(seconds)).toBeLessThanOrEqual(5);
  });

  test.each(['up', 'down'] as const)('waits for vacuum on each table that its %s tries to lock', (half) => {
    const names = (pattern: RegExp) =>
      [...migration[half].matchAll(pattern)].flatMap(
        ([, list = '']) => list.match(/\w*(?:crm|contact)\w+/g) ?? [],
      );
    const statement = String.raw`crm_run_in_schema\(\s*(?:'|\$\w*\$)\s*`;
    const locked = names(new RegExp(`${statement}lock table (.*) in `, 'g'));
    const indexed = names(new RegExp(`${statement}create (?:unique )?index[^;$]* on %1\\$I\\.(\\w+)`, 'g'));
    const waited = names(/crm_wait_for_vacuum\(array\[(.*)\]/g);
    expect(waited).toEqual(expect.arrayContaining([...locked, ...indexed]));
    if (new RegExp(`${statement}drop index`).test(migration[half])) expect(waited).not.toEqual([]);
  });

  test('has lower-case keywords and no select *', () => {
    expect(bareSql(migration.text)).not.toMatch(
      /\b(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|TABLE|INDEX|FROM|WHERE|NOT|NULL|BEGIN|END|IF|THEN|RETURN)\b/,
    );
    expect(bareSql(migration.text)).not.toMatch(/select\s+\*/);
  });

  test('locks and scans exactly the tables in its header, and blocks only the statements that these locks block', async () => {
    const earlier = migrations.slice(0, migrations.indexOf(migration));
    await migratedAlone(earlier, async (client) => {
      const existing = await tables(client);
      // Flush what was read before, so that it is not counted here.
      await client.query('select pg_stat_force_next_flush()');
      const readBefore = await rowsScanned(client, existing);
      await client.query('begin');
      await client.query(migration.up);
      const locks = namedLocks(header(migration, 'Locks'));
      expect(await heldLocks(client, existing)).toEqual(locks);
      // Partitions are locked with the log.
      for (const table of existing.filter((name) => !name.startsWith('crm_sync_log_'))) {
        const lock = locks.find((named) => named.startsWith(`${table} `));
        expect(await waiting(table), table).toEqual(whoWaits(lock?.slice(table.length + 1)));
      }
      const read = await rowsScanned(client, existing);
      const scanned = header(migration, 'Scans');
      expect(existing.filter((table) => read.get(table) !== readBefore.get(table))).toEqual(
        scanned.startsWith('nothing') ? [] : [scanned.split(',')[0]],
      );
      await client.query('rollback');
    });
  });
});

/** Statements of an application on a table; none finds a row. */
const statements = {
  reader: (table: string) => `select from ${table} where false`,
  // Like the check of a foreign key.
  referrer: (table: string) => `select from ${table} where false for key share`,
  writer: (table: string) => `delete from ${table} where false`,
};

/** Which statements a lock blocks, by PostgreSQL's table of conflicts. */
function whoWaits(mode: string | undefined): string[] {
  switch (mode) {
    case undefined:
    case 'SHARE UPDATE EXCLUSIVE':
      return [];
    case 'SHARE':
    case 'SHARE ROW EXCLUSIVE':
      return ['writer'];
    case 'EXCLUSIVE':
      return ['referrer', 'writer'];
    default:
      return ['reader', 'referrer', 'writer'];
  }
}

/** Which statements on a table are blocked at this moment. */
async function waiting(table: string): Promise<string[]> {
  const found: string[] = [];
  for (const [name, statement] of Object.entries(statements)) {
    await rolledBack(pool, async (client) => {
      await client.query("set local lock_timeout = '1ms'");
      await client.query(statement(table)).catch(({ code }) => {
        expect(code).toBe('55P03');
        found.push(name);
      });
    });
  }
  return found;
}

/** Runs `work` after only the `earlier` migrations were applied and committed. */
async function migratedAlone(
  earlier: Migration[],
  work: (client: pg.ClientBase) => Promise<void>,
): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    for (const { up } of earlier) await client.query(up);
    const tenant = await createTenant(client, 3);
    const existing = await tables(client);
    if (existing.includes('crm_connections')) {
      const key = await insertConnection(client, tenant.organisationId);
      if (existing.includes('crm_sync_log')) {
        await insert(client, 'crm_sync_log', {
          organisation_id: key.organisationId,
          connection_id: key.connectionId,
          direction: 'inbound',
          entity_type: 'contact',
          status: 'success',
        });
      }
      if (existing.includes('crm_sync_failures')) {
        await insert(client, 'crm_sync_failures', {
          organisation_id: key.organisationId,
          connection_id: key.connectionId,
          direction: 'inbound',
          entity_type: 'contact',
          record_id: '1',
          attempts: 1,
          error: { kind: 'timeout', retryable: true, message: 'No answer.' },
          first_failed_at: '2026-11-16T09:00:00Z',
          last_failed_at: '2026-11-16T09:00:00Z',
          next_attempt_at: '2026-11-16T10:00:00Z',
        });
      }
      if (existing.includes('crm_sync_runs')) {
        await insert(client, 'crm_sync_runs', {
          organisation_id: key.organisationId,
          connection_id: key.connectionId,
          worker: 'test',
          started_at: '2026-11-16T09:00:00Z',
          heartbeat_at: '2026-11-16T09:00:00Z',
          expires_at: '2026-11-16T09:05:00Z',
        });
      }
      if (existing.includes('crm_sync_conflicts')) {
        await insert(client, 'crm_sync_conflicts', {
          organisation_id: key.organisationId,
          connection_id: key.connectionId,
          entity_type: 'contact',
          external_id: '1',
          contact_id: tenant.contactIds[0],
          kept: 'crm',
          first_seen_at: '2026-11-16T09:00:00Z',
          last_seen_at: '2026-11-16T09:00:00Z',
        });
      }
    }
    if (existing.includes('contact_external_ids')) await linkAll(client, tenant);
    if (existing.includes('contact_external_id_aliases')) {
      await insert(client, 'contact_external_id_aliases', {
        organisation_id: tenant.organisationId,
        provider: 'reapit',
        entity_type: 'contact',
        external_id: 'alias',
        contact_id: tenant.contactIds[0],
      });
    }
    if (existing.includes('crm_erasures')) {
      await insert(client, 'crm_erasures', {
        organisation_id: tenant.organisationId,
        subject: 'contact',
        key_id: '0'.repeat(16),
        subject_hashes: [Buffer.alloc(32)],
        counts: {},
      });
    }
    await client.query('commit');
    await work(client);
  } finally {
    await client.query('rollback');
    await client.query('begin');
    await client.query("set local crm_schema.allow_data_loss = 'on'");
    for (const { down } of earlier.toReversed()) await client.query(down);
    await client.query('delete from contacts');
    await client.query('commit');
    client.release();
  }
}

/** Links each contact to an external id. */
async function linkAll(client: pg.ClientBase, { organisationId, contactIds }: Tenant): Promise<void> {
  await client.query(
    `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select $1, 'reapit', 'contact', id::text, id from unnest($2::uuid[]) as id`,
    [organisationId, contactIds],
  );
}

test('0001 locks nothing if the index was built beforehand', async () => {
  const client = await pool.connect();
  try {
    await client.query('create unique index prebuilt on contacts (organisation_id, id)');
    await client.query('begin');
    await client.query(migrations[0]?.up ?? '');
    expect(await heldLocks(client, ['contacts', 'organisations'])).toEqual([]);
  } finally {
    await client.query('rollback');
    await client.query('drop index prebuilt');
    client.release();
  }
});
