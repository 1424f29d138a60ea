import { createHmac } from 'node:crypto';
import type pg from 'pg';

/** Erases a person by the function of the schema itself, as the owner would. */
export async function eraseContacts(
  client: pg.Pool | pg.ClientBase,
  organisationId: string,
  contactIds: readonly string[],
  namedIds: readonly string[] = contactIds,
): Promise<{ erasureId: string; counts: Record<string, number> }> {
  const hmac = (text: string) => createHmac('sha256', 'test').update(text).digest();
  const { rows } = await client.query(
    'select erasure_id as "erasureId", counts from crm_erase_contact($1, $2, $3, $4, $5, $6)',
    [
      organisationId,
      namedIds,
      contactIds,
      contactIds.map((id) => hmac(`contact ${id}`)),
      hmac('key').toString('hex').slice(0, 16),
      hmac(`salt ${organisationId}`),
    ],
  );
  return rows[0];
}

/**
 * Where a text stands in the database: every row of every table, detached months too, as text, and as the bytes of a
 * bytea. Leaves out the host's own tables.
 *
 * @returns for each place the table and the row
 */
export async function placesOf(client: pg.Pool | pg.ClientBase, text: string): Promise<string[]> {
  const { rows: tables } = await client.query<{ name: string }>(
    `select oid::regclass::text as name
     from pg_class
     where relnamespace = 'public'::regnamespace
       and relkind = 'r'
       and relname not in ('organisations', 'contacts')
     order by relname`,
  );
  const places: string[] = [];
  for (const { name } of tables) {
    const { rows } = await client.query<{ row: string }>(
      `select held::text as row from ${name} as held
       where strpos(held::text, $1) > 0 or strpos(held::text, encode(convert_to($1, 'UTF8'), 'hex')) > 0`,
      [text],
    );
    places.push(...rows.map(({ row }) => `${name} ${row}`));
  }
  return places;
}
