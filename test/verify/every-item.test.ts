import type pg from 'pg';
import { expect, test } from 'vitest';
import { commentTarget } from '../../src/verify/comments.js';
import { nameOf } from '../../src/verify/difference.js';
import { shippedItems } from '../../src/verify/expected-items.js';
import type { Item } from '../../src/verify/item.js';
import { rolledBack, useDatabase } from '../support/database.js';
import { differencesIn, isTransactional } from './support.js';

const { pool } = useDatabase();

/** SQL that removes an item, renames it, or changes it if it cannot be removed. */
function removal({ object, kind, name, definition }: Item): string {
  const table = nameOf(object);
  switch (kind) {
    case 'migration':
      return `delete from pgmigrations where name = '${name}'`;
    case 'role':
      return `alter role ${name} rename to crm_test_gone`;
    case 'schema usage':
      return `revoke usage on schema public from public, ${name}`;
    case 'host index':
      return 'drop index contacts_organisation_id_id_key cascade';
    case 'function':
      return `alter function ${name} rename to gone`;
    case 'table':
      return `alter table ${name} rename to gone`;
    case 'view':
      return `drop view ${name}`;
    case 'sequence':
      return `alter sequence ${name} rename to gone`;
    case 'column':
      return `alter table ${table} rename column ${name} to gone`;
    case 'default':
      return `alter table ${table} alter column ${name} drop default`;
    case 'constraint':
      return `alter table ${table} drop constraint ${name} cascade`;
    case 'index':
      return `drop index ${name} cascade`;
    case 'trigger':
      return `drop trigger ${name} on ${table}`;
    case 'policy':
      return `drop policy ${name} on ${table}`;
    case 'row-level security':
      return `alter table ${table} disable row level security`;
    case 'owner':
      return `alter ${object} owner to pg_monitor`;
    case 'privileges': {
      const target = /^(table|view) /.test(object) ? table : object;
      const [grant] = definition.grants ?? [];
      const privilege = grant?.column ? `${grant.privilege} (${grant.column})` : grant?.privilege;
      return name === 'the owner'
        ? `do $$ begin execute format('revoke ${privilege} on ${target} from %I', current_user); end $$`
        : `revoke ${privilege} on ${target} from ${name}`;
    }
    case 'comment':
      return `comment on ${commentTarget(object, name)} is null`;
    case 'period':
      return `delete from ${table} where subject = '${name}'`;
    default:
      throw new Error(`No removal for a ${kind}.`);
  }
}

/** The partition that stands for all of them. */
const model = 'table public.crm_sync_log_catch_all';

/** What a partition inherits from the log cannot be removed from it alone. */
const isInherited = ({ object, kind, name }: Item) =>
  object === model && (kind === 'constraint' || kind === 'index' || name === 'crm_sync_log_refuse_change');

const items = shippedItems();
const removable = items.filter((item) => !isInherited(item));

/** Whether SQL alone cannot restore the item, or what its removal takes with it. */
const isLost = ({ object, kind, name }: Item) =>
  ['migration', 'role', 'function', 'table', 'sequence', 'column', 'period'].includes(kind) ||
  (kind === 'owner' && object === 'table public.crm_sync_log') ||
  name === 'the owner';

/** Removes items, expects the reported statements to restore them, and returns those not reported. */
async function unreported(client: pg.PoolClient, removed: readonly Item[]): Promise<string[]> {
  for (const item of removed) await client.query(removal(item));
  const differences = await differencesIn(client);
  const missed = removed.filter((item) => {
    // A partition is reported by its range.
    const reportedKind = item.object === model && item.kind === 'table' ? 'partition' : item.kind;
    const reportedName = item.kind === 'comment' ? commentTarget(item.object, item.name) : item.name;
    return !differences.some(
      ({ kind, name }) =>
        kind === reportedKind &&
        name.includes(reportedName) &&
        // The index of the host's table is named by its columns.
        (kind === 'host index' || name.includes(nameOf(item.object))),
    );
  });
  if (!removed.some(isLost) && differences.every(isTransactional)) {
    for (const statement of differences.flatMap(({ statements }) => statements))
      await client.query(statement);
    expect(await differencesIn(client), removed[0]?.name).toEqual([]);
  }
  return missed.map(({ kind, name }) => `${kind} ${name}`);
}

/** Whether removing the item affects no other object, so that it can go together with items of others. */
const isIndependent = ({ kind, definition: { sql } }: Item) =>
  ['column', 'default', 'index', 'policy', 'privileges', 'row-level security'].includes(kind) ||
  (kind === 'constraint' && sql.startsWith('CHECK'));

/**
 * Items of a kind that are removed at once: the comments of an object, on which nothing depends; the first
 * independent item of each object, the second, and so on; and each other item alone.
 */
function groups(kind: string): Item[][] {
  const byGroup = new Map<unknown, Item[]>();
  const earlier = new Map<string, number>();
  for (const item of removable.filter((each) => each.kind === kind)) {
    const peers = `${item.object} ${isLost(item)}`;
    const rank = earlier.get(peers) ?? 0;
    earlier.set(peers, rank + 1);
    const group = kind === 'comment' ? item.object : isIndependent(item) ? `${rank} ${isLost(item)}` : item;
    byGroup.set(group, [...(byGroup.get(group) ?? []), item]);
  }
  return [...byGroup.values()];
}

test.each([...new Set(items.map(({ kind }) => kind))])(
  'verify reports every %s that was removed',
  async (kind) => {
    const missed: string[] = [];
    for (const group of groups(kind)) {
      missed.push(...(await rolledBack(pool, (client) => unreported(client, group))));
    }
    expect(missed).toEqual([]);
  },
);
