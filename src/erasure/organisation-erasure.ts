import { CrmSchemaError } from '../errors.js';
import { readKeptMonths } from '../partitions/kept-months.js';
import { checkDedicatedConnection, type DedicatedConnection } from '../statements/dedicated-connection.js';
import { checkParameter, checkUuid, refuse } from '../validation.js';
import type { ErasureKey } from './erasure-key.js';
import { asOwner } from './own-errors.js';

/** Which organisation to erase, and how. */
export interface OrganisationErasureParams {
  /** The organisation's UUID. */
  organisationId: string;
  /** How many rows a transaction deletes at most: 1 to 100,000; defaults to 2,000. */
  batchSize?: number | undefined;
  /** Is called after each transaction with the number of rows that it has deleted. */
  onBatch?: ((deleted: number) => void) | undefined;
}

/** What was erased of an organisation. */
export interface OrganisationErasure {
  /** The proof's id in `crm_erasures`: a bigint, as text. Null if nothing was kept of the organisation. */
  erasureId: string | null;
  /** How many rows were deleted, by table, by this call and by those that it goes on from. */
  counts: Record<string, number>;
}

/**
 * Erases an organisation from the tables of this schema, a batch of rows at a time: the log month by month, detached
 * months too, then the other tables, and its connections last. Each batch is a transaction of its own, and locks only rows
 * of this organisation. If it is interrupted, even by `kill -9`, call it again: it goes on, with the same proof. Leaves the
 * host's own `contacts` and `organisations` alone; delete these afterwards.
 *
 * Disconnect its CRMs first.
 *
 * @param client a dedicated connection of the owner
 * @param key the key of the proof
 * @throws CrmSchemaError `not_permitted` if the user is not the owner, `schema_not_found`; `invalid_input`;
 *   `partitions_refused` if a month that is kept under another name has events of the organisation
 * @throws Error of the server: CRM04 while a CRM is connected, or its credentials have still to be revoked; CRM01 if a month
 *   of the log that was detached cannot be searched, or row-level security may hide rows from the owner
 */
export async function organisationErase(
  client: DedicatedConnection,
  key: ErasureKey,
  params: OrganisationErasureParams,
): Promise<OrganisationErasure> {
  checkParameter('params', params);
  const { organisationId, batchSize = 2000, onBatch } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  if (!(Number.isInteger(batchSize) && batchSize >= 1 && batchSize <= 100_000))
    refuse({ field: 'batchSize' }, 'must be a whole number from 1 to 100,000');
  await checkDedicatedConnection(client);
  await refuseKeptEvents(client, organisationId);
  const values = [organisationId, key.hashOrganisation(organisationId), key.id, batchSize];
  for (;;) {
    const batch = await eraseBatch(client, values);
    const deleted = Number(batch.deleted);
    if (deleted > 0) onBatch?.(deleted);
    if (batch.state === 'finished') return readErasure(client, organisationId, batch.erasureId);
  }
}

/**
 * Counts the rows that are kept of an organisation, by table, without those of the host's tables.
 *
 * @param client a dedicated connection of the owner
 * @throws CrmSchemaError `not_permitted` if the user is not the owner, `schema_not_found`
 * @throws Error of the server: CRM01 as {@link organisationErase}
 */
export async function organisationRows(
  client: DedicatedConnection,
  organisationId: string,
): Promise<Record<string, number>> {
  const { rows: tables } = await asOwner(() =>
    client.query('select held::text as name, counted_as::text as "countedAs" from crm_organisation_tables()'),
  );
  const counts: Record<string, number> = {};
  for (const { name, countedAs } of [...tables, { name: 'crm_connections', countedAs: 'crm_connections' }]) {
    const { rows } = await asOwner(() =>
      client.query(`select count(*)::text as count from only ${name} where organisation_id = $1::uuid`, [
        organisationId,
      ]),
    );
    const count = Number(rows[0].count);
    if (count > 0) counts[countedAs] = (counts[countedAs] ?? 0) + count;
  }
  return counts;
}

/** The foreign key of a month that is kept under another name would refuse the last step, the connections. */
async function refuseKeptEvents(client: DedicatedConnection, organisationId: string): Promise<void> {
  for (const name of await readKeptMonths(client)) {
    const { rows } = await asOwner(() =>
      client.query(`select 1 from ${name} where organisation_id = $1::uuid limit 1`, [organisationId]),
    );
    if (rows.length > 0) {
      throw new CrmSchemaError(
        'partitions_refused',
        `${name} was a month of the log, and has events of the organisation: delete them there first.`,
      );
    }
  }
}

/** Erases a batch, in a transaction of its own. */
async function eraseBatch(
  client: DedicatedConnection,
  values: unknown[],
): Promise<{ erasureId: string | null; deleted: string; state: 'unfinished' | 'finished' }> {
  await client.query('begin isolation level read committed');
  try {
    const { rows } = await asOwner(() => client.query(statement, values));
    await client.query('commit');
    return rows[0];
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  }
}

/** As text, because the client may parse other types in its own way. */
const statement = `
  select
    erasure_id::text as "erasureId",
    deleted::text as deleted,
    case when is_finished then 'finished' else 'unfinished' end as state
  from crm_erase_organisation($1::uuid, $2::bytea, $3::text, $4::integer)`;

async function readErasure(
  client: DedicatedConnection,
  organisationId: string,
  erasureId: string | null,
): Promise<OrganisationErasure> {
  if (erasureId === null) return { erasureId, counts: {} };
  const { rows } = await asOwner(() =>
    client.query(
      'select counts::text as counts from crm_erasures where organisation_id = $1::uuid and id = $2::bigint',
      [organisationId, erasureId],
    ),
  );
  return { erasureId, counts: JSON.parse(rows[0].counts) };
}
