import { CrmSchemaError } from '../errors.js';
import { checkDedicatedConnection, type DedicatedConnection } from '../statements/dedicated-connection.js';
import { refuse } from '../validation.js';
import { eraseContacts } from './contact-erasure.js';
import type { ErasureKey } from './erasure-key.js';
import { asOwner } from './own-errors.js';
import type { ErasureProof } from './proofs.js';

/** What became of a proof. */
export interface RepeatedErasure {
  /** The organisation's UUID. */
  organisationId: string;
  /** The proof's id when it was listed. */
  erasureId: string;
  /**
   * `erased`: the person was there again, and is erased. `absent`: nothing was there. `other_key`: its hashes were made
   * with another key: call it with that one. `organisation`: it is not about a person. `failed`: the server refused it,
   * and nothing of this proof was done.
   */
  outcome: 'erased' | 'absent' | 'other_key' | 'organisation' | 'failed';
  /** How many rows were deleted or rewritten, by table; only if `erased`. */
  counts?: Record<string, number>;
  /** Why, in the server's words, which may name a contact; only if `failed`. */
  error?: {
    /** The SQLSTATE. */
    code: string;
    /** What the server said. */
    message: string;
  };
}

/**
 * Repeats the erasures that the proofs record, after a backup was restored, or in case something has been logged of these
 * people since. Restores the proofs, too, so that the CRMs do not bring them back. Reads every contact id that the tables know,
 * the log included, once for each organisation. Each proof is one transaction; it may be interrupted and called again. A
 * proof that fails does not keep the others from being repeated: as where the backup has somebody else merged into the
 * person. Undo that merge, and call it again.
 *
 * @param client a dedicated connection of the owner
 * @param key the key with which they were erased
 * @param proofs from {@link erasureList}
 * @throws CrmSchemaError `not_permitted` if the user is not the owner, `schema_not_found`, `invalid_input`
 */
export async function contactEraseAgain(
  client: DedicatedConnection,
  key: ErasureKey,
  proofs: readonly ErasureProof[],
): Promise<RepeatedErasure[]> {
  if (!isProofs(proofs)) refuse({ field: 'proofs' }, 'must be what erasureList returns');
  await checkDedicatedConnection(client);
  const known = new Map<string, Map<string, string>>();
  const repeated: RepeatedErasure[] = [];
  for (const proof of proofs) {
    const { organisationId, erasureId, subject, keyId } = proof;
    const result = (outcome: RepeatedErasure['outcome']) => ({ organisationId, erasureId, outcome });
    if (subject !== 'contact') {
      repeated.push(result('organisation'));
      continue;
    }
    if (keyId !== key.id) {
      repeated.push(result('other_key'));
      continue;
    }
    const contacts = known.get(organisationId) ?? (await hashedContacts(client, key, organisationId));
    known.set(organisationId, contacts);
    const present = proof.subjectHashes.flatMap((hash) => contacts.get(hash) ?? []);
    await client.query('begin isolation level read committed');
    try {
      const counts =
        present.length === 0 ? undefined : (await eraseContacts(client, key, organisationId, present)).counts;
      await restoreProof(client, key, proof);
      await client.query('commit');
      repeated.push(counts === undefined ? result('absent') : { ...result('erased'), counts });
    } catch (error) {
      await client.query('rollback').catch(() => {
        throw error;
      });
      if (!isOfTheServer(error)) throw error;
      repeated.push({ ...result('failed'), error: { code: error.code, message: error.message } });
    }
  }
  return repeated;
}

/** Whether the server refused a statement, rather than the user (a `CrmSchemaError`) or the connection. */
function isOfTheServer(error: unknown): error is Error & { code: string } {
  if (!(error instanceof Error) || error instanceof CrmSchemaError) return false;
  return 'code' in error && typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code);
}

/** Whether a value, perhaps from a file, has the form of proofs. */
export function isProofs(value: unknown): value is ErasureProof[] {
  return Array.isArray(value) && value.every(isProof);
}

function isProof(value: Partial<Record<keyof ErasureProof, unknown>> | null): boolean {
  const texts = [
    value?.organisationId,
    value?.erasureId,
    value?.subject,
    value?.erasedAt,
    value?.erasedBy,
    value?.keyId,
  ];
  return (
    texts.every((text) => typeof text === 'string') &&
    Array.isArray(value?.subjectHashes) &&
    value.subjectHashes.every(isHash) &&
    Array.isArray(value.records) &&
    value.records.every((record) => isHash(record?.hash)) &&
    typeof value.counts === 'object'
  );
}

function isHash(value: unknown): boolean {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

/** Every contact of an organisation of which the tables know, by its hash. */
async function hashedContacts(
  client: DedicatedConnection,
  key: ErasureKey,
  organisationId: string,
): Promise<Map<string, string>> {
  const { rows: tables } = await asOwner(() =>
    client.query('select tables::text as name from crm_sync_log_tables() as tables'),
  );
  const { rows } = await asOwner(() =>
    client.query(`${contactsBesideTheLog} ${tables.map(({ name }) => contactsInTheLog(name)).join('')}`, [
      organisationId,
    ]),
  );
  return new Map(rows.map(({ id }) => [key.hashContact(organisationId, id).toString('hex'), id]));
}

/** $1: the organisation. */
const contactsBesideTheLog = `
  select contact_id::text as id from contact_external_ids where organisation_id = $1::uuid
  union select contact_id::text from contact_external_id_aliases where organisation_id = $1::uuid
  union select contact_id::text from contact_external_id_archive where organisation_id = $1::uuid and contact_id is not null
  union select from_contact_id::text from contact_external_id_changes where organisation_id = $1::uuid and from_contact_id is not null
  union select to_contact_id::text from contact_external_id_changes where organisation_id = $1::uuid and to_contact_id is not null
  union select contact_id::text from crm_outbound_changes where organisation_id = $1::uuid
  union select contact_id::text from crm_sync_conflicts where organisation_id = $1::uuid
  union select fill_contact_id::text from crm_connections where organisation_id = $1::uuid and fill_contact_id is not null
  union select record_id::text from crm_sync_failures where organisation_id = $1::uuid and direction = 'outbound'`;

/** @param table its name, as it stands in SQL */
const contactsInTheLog = (table: string) => `
  union select internal_id::text from ${table} where organisation_id = $1::uuid and internal_id is not null`;

async function restoreProof(
  client: DedicatedConnection,
  key: ErasureKey,
  proof: ErasureProof,
): Promise<void> {
  const { organisationId, erasedAt, erasedBy, keyId, subjectHashes, counts, records } = proof;
  await asOwner(() =>
    client.query(restore, [
      organisationId,
      keyId,
      key.salt(organisationId),
      subjectHashes.map((hash) => Buffer.from(hash, 'hex')),
      erasedAt,
      erasedBy,
      JSON.stringify(counts),
      records.map(({ hash }) => Buffer.from(hash, 'hex')),
      records.map(({ account }) => account),
    ]),
  );
}

const restore = `
  with known as (
    select id
    from crm_erasures
    where organisation_id = $1::uuid
      and erased_at = $5::timestamptz
      and subject_hashes = $4::bytea[]
    limit 1
  ),
  added as (
    insert into crm_erasures (organisation_id, subject, key_id, subject_hashes, erased_at, erased_by, counts)
    select $1::uuid, 'contact', $2::text, $4::bytea[], $5::timestamptz, $6::text, $7::jsonb
    where not exists (select from known)
    returning id
  ),
  salted as (
    insert into crm_erasure_salts (organisation_id, key_id, salt)
    values ($1::uuid, $2::text, $3::bytea)
    on conflict do nothing
  )
  insert into crm_erased_records (organisation_id, hash, erasure_id, account)
  select $1::uuid, record.hash, proof.id, record.account
  from (select id from known union all select id from added) as proof
  cross join unnest($8::bytea[], $9::text[]) as record (hash, account)
  on conflict do nothing`;
