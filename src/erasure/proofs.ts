import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import type { Timestamp } from '../types.js';
import { asOwner } from './own-errors.js';

/** Proof of an erasure. It holds no personal data, unless whoever reads it has the key. */
export interface ErasureProof {
  /** The organisation's UUID. */
  organisationId: string;
  /** Its id in `crm_erasures`: a bigint, as text. */
  erasureId: string;
  /** Who was erased. */
  subject: 'contact' | 'organisation';
  /** When; of an organisation, when it began. */
  erasedAt: Timestamp;
  /**
   * Of an organisation: when nothing of it was left; null if the erasure was interrupted, and is to be continued. Of a
   * contact the same as `erasedAt`.
   */
  finishedAt: Timestamp | null;
  /** The database user who erased. */
  erasedBy: string;
  /** The key of its hashes. */
  keyId: string;
  /** HMAC-SHA-256 of each contact that the person was, in hex. */
  subjectHashes: string[];
  /** How many rows were deleted or rewritten, by table. */
  counts: Record<string, number>;
  /** The records and the contacts of the person, which must not come back. */
  records: ErasedRecord[];
}

/** A record or a contact of an erased person, as it is recognised. */
export interface ErasedRecord {
  /** SHA-256 of a salt and its id, in hex. */
  hash: string;
  /** The account at the CRM; null if it is unknown, and for a contact. */
  account: string | null;
}

/**
 * Lists the proofs of all erasures, oldest first. Keep them apart from the backups: {@link contactEraseAgain} needs them
 * after one was restored. Call it as the owner of the tables.
 *
 * @param client a connection of the owner
 * @throws CrmSchemaError `not_permitted` if the user is not the owner, `schema_not_found`
 * @throws Error of the server: CRM01 if row-level security may hide rows from the owner
 */
export async function erasureList(client: DedicatedConnection): Promise<ErasureProof[]> {
  await asOwner(() => client.query('select crm_require_all_rows()'));
  const { rows } = await asOwner(() => client.query(selectProofs));
  return rows.map(({ proof }) => JSON.parse(proof));
}

const selectProofs = `
  select
    jsonb_build_object(
      'organisationId', erasure.organisation_id,
      'erasureId', erasure.id::text,
      'subject', erasure.subject,
      'erasedAt', to_char(erasure.erased_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'finishedAt', to_char(
        case erasure.subject when 'contact' then erasure.erased_at else erasure.finished_at end at time zone 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
      ),
      'erasedBy', erasure.erased_by,
      'keyId', erasure.key_id,
      'subjectHashes', (
        select jsonb_agg(encode(hash, 'hex'))
        from unnest(erasure.subject_hashes) as hash
      ),
      'counts', erasure.counts,
      'records', (
        select coalesce(jsonb_agg(jsonb_build_object('hash', encode(record.hash, 'hex'), 'account', record.account) order by record.hash), '[]')
        from crm_erased_records as record
        where record.organisation_id = erasure.organisation_id
          and record.erasure_id = erasure.id
      )
    )::text as proof
  from crm_erasures as erasure
  order by
    erasure.erased_at,
    erasure.id`;

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
