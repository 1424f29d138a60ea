import { CrmSchemaError } from '../errors.js';
import { checkDedicatedConnection, type DedicatedConnection } from '../statements/dedicated-connection.js';
import { refuse } from '../validation.js';
import { eraseContacts } from './contact-erasure.js';
import type { ErasureKey } from './erasure-key.js';
import { asOwner } from './own-errors.js';
import { type ErasureProof, erasureList } from './proofs.js';
import { restoreProof } from './restore-proof.js';

/** What became of a proof. */
export interface RepeatedErasure {
  /** The organisation's UUID. */
  organisationId: string;
  /** The proof's id when it was listed. */
  erasureId: string;
  /**
   * `erased`: the person was there again, and is erased. `absent`: nothing was there. `other_key`: its hashes were made
   * with another key: call it with that one. `organisation`: it is not about a person. `organisation_erased`: nothing was
   * there, and the whole organisation was erased after the person, as another proof says: the proof is restored, without
   * what recognises the records. `failed`: the server refused it, and nothing of this proof was done.
   */
  outcome: 'erased' | 'absent' | 'other_key' | 'organisation' | 'organisation_erased' | 'failed';
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
 * person. Undo that merge, and call it again. A record that the proof has of another account than the table is recognised
 * in every account.
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
  const organisationErasures = [...proofs, ...(await erasureList(client))].filter(
    ({ subject }) => subject === 'organisation',
  );
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
    const isOrganisationErased =
      present.length === 0 && organisationErasures.some((erasure) => isOfAllAfter(erasure, proof));
    await client.query('begin isolation level read committed');
    try {
      const counts =
        present.length === 0 ? undefined : (await eraseContacts(client, key, organisationId, present)).counts;
      await restoreProof(client, key, isOrganisationErased ? { ...proof, records: [] } : proof);
      await client.query('commit');
      if (counts !== undefined) repeated.push({ ...result('erased'), counts });
      else repeated.push(result(isOrganisationErased ? 'organisation_erased' : 'absent'));
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

/** Whether an organisation was erased completely, and after the person. Their times are text of one form, in UTC. */
function isOfAllAfter({ organisationId, finishedAt }: ErasureProof, person: ErasureProof): boolean {
  return organisationId === person.organisationId && finishedAt !== null && finishedAt > person.erasedAt;
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
