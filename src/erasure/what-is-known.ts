import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import type { ErasureKey } from './erasure-key.js';
import { asOwner } from './own-errors.js';
import type { ErasureProof } from './proofs.js';

/** What the tables know of an organisation, by the hashes of proofs. */
export interface KnownOrganisation {
  /** The contacts that the tables of this schema know. */
  contacts: Map<string, string>;
  /** Those of the host's own table; null if the owner of these tables may not read all of it. */
  hostContacts: Map<string, string> | null;
  /** The records of erased people, by connection, wherever they stand without being linked. */
  records: {
    hash: string;
    provider: string;
    account: string | null;
    connectionId: string | null;
    entityType: string;
    externalId: string;
    /** The contact with which the log names it. */
    contactId: string | null;
  }[];
}

/**
 * Reads every contact of an organisation, and those of its records that have these hashes.
 *
 * @param hashes in hex
 */
export async function readOrganisation(
  client: DedicatedConnection,
  key: ErasureKey,
  organisationId: string,
  hashes: string[],
): Promise<KnownOrganisation> {
  const run = async (text: string, values: unknown[]) =>
    (await asOwner(() => client.query(text, values))).rows;
  const tables: { name: string }[] = await run(
    'select tables::text as name from crm_sync_log_tables() as tables',
    [],
  );
  const union = (parts: string[]) => parts.join(' union ');
  const logged = (text: (table: string) => string) => tables.map(({ name }) => text(name));
  const byHash = (rows: { id: string }[]) =>
    new Map(rows.map(({ id }) => [key.hashContact(organisationId, id).toString('hex'), id]));

  const contacts = byHash(
    await run(union([...contactsBesideTheLog, ...logged(contactsIn)]), [organisationId]),
  );
  const [host] = await run(hostTable, []);
  const hostContacts =
    host === undefined
      ? null
      : byHash(
          await run(`select id::text as id from ${host.name} where organisation_id = $1::uuid`, [
            organisationId,
          ]),
        );
  const records =
    hashes.length === 0
      ? []
      : await run(recordsWith(union([...recordsBesideTheLog, ...logged(recordsIn)])), [
          organisationId,
          key.salt(organisationId),
          hashes.map((hash) => Buffer.from(hash, 'hex')),
        ]);
  return { contacts, hostContacts, records };
}

/** Whether one of these contacts was linked to a record after its erasure. */
export async function isLinkedSince(
  client: DedicatedConnection,
  { organisationId, erasedAt }: ErasureProof,
  contactIds: string[],
): Promise<boolean> {
  const { rows } = await asOwner(() =>
    client.query(
      `select 1
       from contact_external_records
       where organisation_id = $1::uuid
         and contact_id = any($2::uuid[])
         and first_seen_at > $3::timestamptz
       limit 1`,
      [organisationId, contactIds, erasedAt],
    ),
  );
  return rows.length > 0;
}

/** What to do about a merge of one of these contacts with somebody else, in a sentence; undefined if there is none. */
export async function otherMerge(
  client: DedicatedConnection,
  organisationId: string,
  contactIds: string[],
): Promise<string | undefined> {
  const { rows } = await asOwner(() =>
    client.query(
      `select
         from_contact_id::text as "from",
         to_contact_id::text as "into",
         operation_id::text as operation,
         case when to_contact_id = any($2::uuid[]) then from_contact_id else to_contact_id end::text as other
       from contact_external_id_changes
       where organisation_id = $1::uuid
         and kind = 'contacts_merged'
         and external_id is null
         and undone_by is null
         and (to_contact_id = any($2::uuid[])) <> (from_contact_id = any($2::uuid[]))
       limit 1`,
      [organisationId, contactIds],
    ),
  );
  const [merge] = rows;
  if (merge === undefined) return undefined;
  return `contact ${merge.from} is merged into ${merge.into} here, and ${merge.other} was not erased. Undo merge ${merge.operation} (contactMergeUndo), and run it again; only if they are one person, erase that one as well, with contact erase`;
}

/** The host's own contacts, if the owner of these tables may read all of them. */
const hostTable = `
  select confrelid::regclass::text as name
  from pg_constraint
  where conrelid = 'contact_external_ids'::regclass
    and conname = 'contact_external_ids_contact_id_fkey'
    and has_column_privilege(confrelid, 'id', 'select')
    and has_column_privilege(confrelid, 'organisation_id', 'select')
    and not row_security_active(confrelid)`;

/** $1: the organisation. */
const contactsBesideTheLog = [
  'select contact_id::text as id from contact_external_ids where organisation_id = $1::uuid',
  'select contact_id::text from contact_external_id_aliases where organisation_id = $1::uuid',
  'select contact_id::text from contact_external_id_archive where organisation_id = $1::uuid and contact_id is not null',
  'select from_contact_id::text from contact_external_id_changes where organisation_id = $1::uuid and from_contact_id is not null',
  'select to_contact_id::text from contact_external_id_changes where organisation_id = $1::uuid and to_contact_id is not null',
  'select contact_id::text from crm_outbound_changes where organisation_id = $1::uuid',
  'select contact_id::text from crm_sync_conflicts where organisation_id = $1::uuid',
  'select fill_contact_id::text from crm_connections where organisation_id = $1::uuid and fill_contact_id is not null',
  "select record_id::text from crm_sync_failures where organisation_id = $1::uuid and direction = 'outbound'",
];

/** @param table its name, as it stands in SQL */
const contactsIn = (table: string) =>
  `select internal_id::text from ${table} where organisation_id = $1::uuid and internal_id is not null`;

/** Not the ids that are linked: they mean whom they are linked to. */
const recordsBesideTheLog = [
  "select connection_id, null as provider, entity_type, record_id as external_id, null::uuid as contact_id from crm_sync_failures where organisation_id = $1::uuid and direction = 'inbound'",
  'select connection_id, null, entity_type, external_id, null from crm_record_requests where organisation_id = $1::uuid',
  'select connection_id, null, entity_type, external_id, null from contact_external_id_archive where organisation_id = $1::uuid and contact_id is null',
  'select connection_id, null, merged_into_entity_type, merged_into_external_id, null from contact_external_id_archive where organisation_id = $1::uuid and merged_into_external_id is not null',
  'select connection_id, provider, entity_type, external_id, null from contact_external_id_changes where organisation_id = $1::uuid and external_id is not null',
  'select null, provider, merged_into_entity_type, merged_into_external_id, null from contact_external_id_aliases where organisation_id = $1::uuid and merged_into_external_id is not null',
];

/** @param table its name, as it stands in SQL */
const recordsIn = (table: string) =>
  `select connection_id, null, entity_type, external_id, internal_id from ${table} where organisation_id = $1::uuid and external_id is not null`;

/** $1: the organisation; $2: its salt; $3: the hashes. An id of unknown account is one of the connection made last. */
const recordsWith = (records: string) => `
  with record as materialized (
    ${records}
  ),
  connection as materialized (
    select
      id,
      provider,
      account,
      row_number() over (partition by provider order by connected_at desc, id) = 1 as is_last
    from crm_connections
    where organisation_id = $1::uuid
  ),
  hashed as materialized (
    select
      named.*,
      crm_erased_record_hash($2::bytea, named.provider, named.entity_type, named.external_id) as hash
    from (
      select distinct
        connection.id as connection_id,
        coalesce(connection.provider, record.provider) as provider,
        connection.account,
        record.entity_type,
        record.external_id
      from record
      left join connection
        on connection.id = record.connection_id
        or (record.connection_id is null and connection.provider = record.provider and connection.is_last)
    ) as named
  )
  select
    encode(hashed.hash, 'hex') as hash,
    hashed.provider,
    hashed.account,
    hashed.connection_id::text as "connectionId",
    hashed.entity_type as "entityType",
    hashed.external_id as "externalId",
    record.contact_id::text as "contactId"
  from hashed
  inner join record
    on record.entity_type = hashed.entity_type
    and record.external_id = hashed.external_id
    and (record.connection_id is null or record.connection_id = hashed.connection_id)
  where hashed.hash = any($3::bytea[])`;
