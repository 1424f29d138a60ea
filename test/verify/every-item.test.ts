import type pg from 'pg';
import { expect, test } from 'vitest';
import { commentTarget } from '../../src/verify/comments.js';
import { nameOf } from '../../src/verify/difference.js';
import { shippedItems } from '../../src/verify/expected-items.js';
import type { Item } from '../../src/verify/item.js';
import { rolledBack } from '../migrations/support.js';
import { useDatabase } from '../support/database.js';
import { differencesIn, isTransactional } from './support.js';

const { pool } = useDatabase();

/** SQL that takes an item away, or its name, or turns it round where there is no more to take. */
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
      const target = object.startsWith('table ') ? table : object;
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
      throw new Error(`How is a ${kind} removed?`);
  }
}

/** The partition that stands for all. */
const model = 'table public.crm_sync_log_catch_all';

/** What the log gives its partitions cannot be taken from one alone. */
const isInherited = ({ object, kind, name }: Item) =>
  object === model && (kind === 'constraint' || kind === 'index' || name === 'crm_sync_log_refuse_change');

const items = shippedItems();
const removable = items.filter((item) => !isInherited(item));

/** Whether the removal leaves something that it takes with it, and SQL alone cannot bring back. */
const isLost = ({ object, kind, name }: Item) =>
  ['migration', 'role', 'function', 'table', 'sequence', 'column', 'period'].includes(kind) ||
  (kind === 'owner' && object === 'table public.crm_sync_log') ||
  name === 'the owner';

/** Takes items away and expects each to be told, and to come back by the statements that are told with it. */
async function unnoticed(client: pg.PoolClient, taken: readonly Item[]): Promise<string[]> {
  for (const item of taken) await client.query(removal(item));
  const differences = await differencesIn(client);
  const missed = taken.filter((item) => {
    // A partition is told by its range.
    const kindTold = item.object === model && item.kind === 'table' ? 'partition' : item.kind;
    const told = item.kind === 'comment' ? commentTarget(item.object, item.name) : item.name;
    return !differences.some(({ kind, name }) => kind === kindTold && name.includes(told));
  });
  if (!taken.some(isLost) && differences.every(isTransactional)) {
    for (const statement of differences.flatMap(({ statements }) => statements))
      await client.query(statement);
    expect(await differencesIn(client), taken[0]?.name).toEqual([]);
  }
  return missed.map(({ kind, name }) => `${kind} ${name}`);
}

/** One by one; comments, on which nothing hangs, together. */
function groups(object: string): Item[][] {
  const all = removable.filter((item) => item.object === object);
  const comments = all.filter(({ kind }) => kind === 'comment');
  return [...all.filter((item) => !comments.includes(item)).map((item) => [item]), comments];
}

test.each([...new Set(items.map(({ object }) => object))])(
  'notices what is taken from %s',
  async (object) => {
    const missed: string[] = [];
    for (const group of groups(object)) {
      missed.push(...(await rolledBack(pool, (client) => unnoticed(client, group))));
    }
    expect(missed).toEqual([]);
  },
);
