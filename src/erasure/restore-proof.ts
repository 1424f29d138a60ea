import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import type { ErasureKey } from './erasure-key.js';
import { asOwner } from './own-errors.js';
import type { ErasureProof } from './proofs.js';

/** Adds a proof that the table lacks, and what recognises its records: of a proof that is there, none was lost. */
export async function restoreProof(
  client: DedicatedConnection,
  key: ErasureKey,
  proof: ErasureProof,
): Promise<void> {
  const { organisationId, subject, erasedAt, finishedAt, erasedBy, keyId, subjectHashes, counts, records } =
    proof;
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
      subject,
      subject === 'organisation' ? finishedAt : null,
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
    insert into crm_erasures (organisation_id, subject, key_id, subject_hashes, erased_at, finished_at, erased_by, counts)
    select $1::uuid, $10::text, $2::text, $4::bytea[], $5::timestamptz, $11::timestamptz, $6::text, $7::jsonb
    where not exists (select from known)
    returning id
  ),
  salted as (
    insert into crm_erasure_salts (organisation_id, key_id, salt)
    select $1::uuid, $2::text, $3::bytea
    where cardinality($8::bytea[]) > 0
    on conflict do nothing
  )
  insert into crm_erased_records as erased (organisation_id, hash, erasure_id, account)
  select $1::uuid, record.hash, added.id, record.account
  from added
  cross join unnest($8::bytea[], $9::text[]) as record (hash, account)
  on conflict (organisation_id, hash) do update
  set account = null
  where erased.account <> excluded.account
    or excluded.account is null`;
