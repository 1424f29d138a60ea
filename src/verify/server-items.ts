import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { defaultPrivileges } from './default-privilege-items.js';
import type { Installation } from './installation.js';
import { define, type Item, type ItemKind, type State } from './item.js';
import { roleItems, roleTables } from './role-items.js';
import { settingItems } from './setting-items.js';

/** What our foreign keys to contacts need, whatever its name; a valid one, if there is one. */
const hostIndex = `
  (
    select
      'index of contacts',
      'host index',
      'contacts (organisation_id, id)',
      to_jsonb('unique'::text),
      jsonb_build_object('invalidIndex', case when not (indisvalid and indisready) then indexrelid::regclass end)
    from pg_index
    where indrelid = $3::oid
      and indisunique
      and indimmediate
      and indpred is null
      and indnkeyatts = 2
      and '{id,organisation_id}' = (
        select array_agg(attname::text order by attname)
        from unnest(indkey[0:1]) as key
        inner join pg_attribute
          on attrelid = indrelid
          and attnum = key
      )
    order by (indisvalid and indisready) desc, indexrelid::regclass::text
    limit 1
  )`;

/**
 * The items outside the schema's own objects: roles, who may create in the schema, settings, default privileges, and the
 * index on contacts.
 *
 * $1: the schema's oid, $2: its owner's, $3: that of contacts.
 */
const query = `
with recursive ${roleTables},
  item (object, kind, name, definition, state) as (
    ${[hostIndex, ...roleItems.map((each) => `(${each})`), ...settingItems, defaultPrivileges].join('\n    union all')}
  )
select object, kind, name, definition #>> '{}' as definition, state::text
from item`;

/** Reads them with the settings of `findInstallation`. */
export async function readServerItems(
  client: DedicatedConnection,
  { schemaId, ownerId, contactsId }: Installation,
): Promise<Item[]> {
  const { rows } = await client.query(query, [schemaId, ownerId, contactsId]);
  return rows.map(
    (row: Record<'object' | 'name' | 'definition', string> & { kind: ItemKind; state: string | null }) => {
      const state: Record<string, unknown> = row.state === null ? {} : JSON.parse(row.state);
      const knownState = Object.fromEntries(Object.entries(state).filter(([, value]) => value !== null));
      return {
        object: row.object,
        kind: row.kind,
        name: row.name,
        definition: define(row.definition, knownState as State),
      };
    },
  );
}
