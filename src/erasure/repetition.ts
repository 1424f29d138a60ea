import { randomUUID } from 'node:crypto';
import { CrmSchemaError } from '../errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { eraseContacts } from './contact-erasure.js';
import type { ErasureKey } from './erasure-key.js';
import { organisationRows } from './organisation-erasure.js';
import { asOwner } from './own-errors.js';
import type { ErasureProof } from './proofs.js';
import { restoreProof } from './restore-proof.js';
import { isLinkedSince, type KnownOrganisation, otherMerge, readOrganisation } from './what-is-known.js';

/** What became of a proof. */
export interface RepeatedErasure {
  /** The organisation's UUID. */
  organisationId: string;
  /** The proof's id when it was listed. */
  erasureId: string;
  /**
   * Of a person: `erased`: something of the person was there again, and is erased. `absent`: nothing was there. `returned`:
   * the table has the proof, and the contact was linked to a record after it: the person came back, and is left alone; to
   * erase them all the same, call `contactErase`. `organisation_erased`: nothing was there, and the whole organisation was
   * erased after the person, as another proof says: the proof is restored, without what recognises the records.
   * `other_key`: its hashes were made with another key: call it with that one. `failed`: the server refused it, and nothing
   * of this proof was done. Of an organisation: `organisation`: nothing was there, or all its CRMs have been connected
   * since. `organisation_back`: it is there as before its erasure: call `organisationErase`.
   */
  outcome:
    | 'erased'
    | 'absent'
    | 'returned'
    | 'organisation_erased'
    | 'other_key'
    | 'failed'
    | 'organisation'
    | 'organisation_back';
  /**
   * The contacts of the person that these tables knew when it was called, and those in the host's `contacts`, if the owner
   * may read it: delete them there, unless they have returned.
   */
  contactIds: string[];
  /** False if the owner may not read all of the host's `contacts`: the person may still be there. */
  isHostSearched: boolean;
  /** How many rows were deleted or rewritten, by table; only if `erased`. */
  counts?: Record<string, number>;
  /** Why, in the server's words, which may name a contact; only if `failed`. */
  error?: {
    /** The SQLSTATE. */
    code: string;
    /** What happened, and what to do. */
    message: string;
  };
}

type Result = Omit<RepeatedErasure, 'organisationId' | 'erasureId' | 'contactIds' | 'isHostSearched'> & {
  contactIds?: string[];
};

/** Repeats proofs one by one, and remembers what it has read of each organisation. */
export class Repetition {
  readonly #organisations = new Map<string, KnownOrganisation>();
  readonly #areBack = new Map<ErasureProof, boolean>();

  constructor(
    private readonly client: DedicatedConnection,
    private readonly key: ErasureKey,
    private readonly proofs: readonly ErasureProof[],
    private readonly stored: readonly ErasureProof[],
    private readonly isDryRun: boolean,
  ) {}

  async repeat(proof: ErasureProof): Promise<RepeatedErasure> {
    const { organisationId, erasureId } = proof;
    const result = await this.#repeat(proof);
    const isHostSearched = this.#organisations.get(organisationId)?.hostContacts !== null;
    return { organisationId, erasureId, contactIds: [], isHostSearched, ...result };
  }

  async #repeat(proof: ErasureProof): Promise<Result> {
    if (proof.subject === 'organisation') {
      const isBack = await this.#isBack(proof);
      // An interrupted erasure adds its own proof when it goes on.
      if (proof.finishedAt !== null && !this.isDryRun) await restoreProof(this.client, this.key, proof);
      return { outcome: isBack ? 'organisation_back' : 'organisation' };
    }
    if (proof.keyId !== this.key.id) return { outcome: 'other_key' };
    const { contacts, hostContacts, records } = await this.#organisation(proof.organisationId);
    const hashes = new Set(this.#hashesOf(proof));
    const present = proof.subjectHashes.flatMap((hash) => contacts.get(hash) ?? []);
    const found = records.filter(
      ({ hash, account }) =>
        hashes.has(hash) &&
        proof.records.some(
          (record) =>
            record.hash === hash &&
            (record.account === null || account === null || record.account === account),
        ),
    );
    const inHost = proof.subjectHashes.flatMap((hash) => hostContacts?.get(hash) ?? []);
    const contactIds = [...new Set([...present, ...inHost])];
    if (this.#isStored(proof) && (await isLinkedSince(this.client, proof, present)))
      return { outcome: 'returned', contactIds };
    const { client, key } = this;
    await client.query('begin isolation level read committed');
    try {
      const counts = await this.#erase(proof, present, found);
      const isOrganisationErased = counts === null && (await this.#isOrganisationErasedAfter(proof));
      await restoreProof(client, key, isOrganisationErased ? { ...proof, records: [] } : proof);
      await client.query(this.isDryRun ? 'rollback' : 'commit');
      if (counts !== null) return { outcome: 'erased', contactIds, counts };
      return { outcome: isOrganisationErased ? 'organisation_erased' : 'absent', contactIds };
    } catch (error) {
      await client.query('rollback').catch(() => {
        throw error;
      });
      if (!isOfTheServer(error)) throw error;
      const { code, message, hint } = error;
      const merge = await otherMerge(client, proof.organisationId, present);
      return {
        outcome: 'failed',
        contactIds,
        error: { code, message: merge ?? [message, hint].filter(Boolean).join('. ') },
      };
    }
  }

  /**
   * Erases contacts, and records that name none of them.
   *
   * @returns how many rows, by table; null if there were none
   */
  async #erase(
    { organisationId, subjectHashes }: ErasureProof,
    present: string[],
    records: KnownOrganisation['records'],
  ): Promise<Record<string, number> | null> {
    if (present.length === 0 && records.length === 0) return null;
    const { client, key } = this;
    await client.query('savepoint erasing');
    // For as long as the erasure takes, the history says that the person was given these records, by whoever is logged
    // with them: so the erasure finds them, also if nothing here names the person's contact.
    const people = present.length > 0 ? present : [randomUUID()];
    const operationId = randomUUID();
    await asOwner(() =>
      client.query(
        `insert into contact_external_id_changes
           (organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id, to_contact_id)
         select $1::uuid, $8::uuid, 'repointed', provider, entity_type, external_id, connection_id, contact_id, $2::uuid
         from unnest($3::text[], $4::text[], $5::text[], $6::uuid[], $7::uuid[])
           as record (provider, entity_type, external_id, connection_id, contact_id)`,
        [
          organisationId,
          people[0],
          records.map(({ provider }) => provider),
          records.map(({ entityType }) => entityType),
          records.map(({ externalId }) => externalId),
          records.map(({ connectionId }) => connectionId),
          records.map(({ contactId }) => contactId),
          operationId,
        ],
      ),
    );
    const { erasureId, counts: all } = await eraseContacts(client, key, organisationId, people);
    const counts = {
      ...all,
      contact_external_id_changes: (all.contact_external_id_changes ?? 0) - records.length,
    };
    const { crm_sync_runs: _, ...rows } = counts as Record<string, number>;
    if (Object.values(rows).every((count) => count === 0)) {
      await client.query('rollback to erasing');
      return null;
    }
    // Those of records that mean somebody else are left.
    await asOwner(() =>
      client.query(
        'delete from contact_external_id_changes where organisation_id = $1::uuid and operation_id = $2::uuid',
        [organisationId, operationId],
      ),
    );
    await asOwner(() =>
      client.query(
        'update crm_erasures set subject_hashes = $3::bytea[], counts = $4::jsonb where organisation_id = $1::uuid and id = $2::bigint',
        [
          organisationId,
          erasureId,
          present.length > 0
            ? present.map((contactId) => key.hashContact(organisationId, contactId))
            : subjectHashes.map((hash) => Buffer.from(hash, 'hex')),
          JSON.stringify(counts),
        ],
      ),
    );
    return counts;
  }

  /** What the tables know of an organisation, read once. */
  async #organisation(organisationId: string): Promise<KnownOrganisation> {
    const read =
      this.#organisations.get(organisationId) ??
      (await readOrganisation(
        this.client,
        this.key,
        organisationId,
        this.proofs
          .filter((proof) => proof.organisationId === organisationId && proof.keyId === this.key.id)
          .flatMap((proof) => this.#hashesOf(proof)),
      ));
    this.#organisations.set(organisationId, read);
    return read;
  }

  #isStored({ organisationId, erasedAt, subjectHashes }: ErasureProof): boolean {
    return this.stored.some(
      (stored) =>
        stored.organisationId === organisationId &&
        stored.erasedAt === erasedAt &&
        stored.subjectHashes.join() === subjectHashes.join(),
    );
  }

  /** What recognises the records of a person. If the table has the proof, those that it lacks were readmitted. */
  #hashesOf(proof: ErasureProof): string[] {
    const hashes = proof.records.map(({ hash }) => hash);
    if (!this.#isStored(proof)) return hashes;
    const stored = new Set(
      this.stored
        .filter(({ organisationId }) => organisationId === proof.organisationId)
        .flatMap(({ records }) => records.map(({ hash }) => hash)),
    );
    return hashes.filter((hash) => stored.has(hash));
  }

  /** Whether an organisation is kept that had been erased, rather than one that has connected its CRMs since. */
  async #isBack(proof: ErasureProof): Promise<boolean> {
    const known = this.#areBack.get(proof);
    if (known !== undefined) return known;
    const rows = await organisationRows(this.client, proof.organisationId);
    const { rows: connections } = await asOwner(() =>
      this.client.query(
        "select 1 from crm_connections where organisation_id = $1::uuid having min(connected_at) >= coalesce($2::timestamptz, 'infinity')",
        [proof.organisationId, proof.finishedAt],
      ),
    );
    const isBack = Object.keys(rows).length > 0 && connections.length === 0;
    this.#areBack.set(proof, isBack);
    return isBack;
  }

  /** Whether the whole organisation was erased after a person, and is not back. Times are text of one form, in UTC. */
  async #isOrganisationErasedAfter(person: ErasureProof): Promise<boolean> {
    const erasures = [...this.proofs, ...this.stored].filter(
      ({ subject, organisationId, finishedAt }) =>
        subject === 'organisation' &&
        organisationId === person.organisationId &&
        finishedAt !== null &&
        finishedAt > person.erasedAt,
    );
    for (const erasure of erasures) if (await this.#isBack(erasure)) return false;
    return erasures.length > 0;
  }
}

/** Whether the server refused a statement, rather than the user (a `CrmSchemaError`) or the connection. */
function isOfTheServer(error: unknown): error is Error & { code: string; hint?: string } {
  if (!(error instanceof Error) || error instanceof CrmSchemaError) return false;
  return 'code' in error && typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code);
}
