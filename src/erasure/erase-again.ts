import { checkDedicatedConnection, type DedicatedConnection } from '../statements/dedicated-connection.js';
import { checkParameter, refuse } from '../validation.js';
import type { ErasureKey } from './erasure-key.js';
import { type ErasureProof, erasureList, isProofs } from './proofs.js';
import { type RepeatedErasure, Repetition } from './repetition.js';

/** How to repeat erasures. */
export interface RepeatOptions {
  /** Whether to say what would be done, and change nothing; defaults to false. */
  isDryRun?: boolean | undefined;
}

/**
 * Repeats the erasures that the proofs record, after a backup was restored, or in case something has been logged of these
 * people since. Restores the proofs, too, so that the CRMs do not bring them back; but no record that was readmitted after
 * a proof that the table has. Finds a person by each contact id and each record that the tables know, the log included,
 * which it reads twice for each organisation. Each proof is one transaction; it may be interrupted and called again. A
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
  options: RepeatOptions = {},
): Promise<RepeatedErasure[]> {
  if (!isProofs(proofs)) refuse({ field: 'proofs' }, 'must be what erasureList returns');
  checkParameter('options', options);
  await checkDedicatedConnection(client);
  const again = new Repetition(client, key, proofs, await erasureList(client), options.isDryRun ?? false);
  const repeated: RepeatedErasure[] = [];
  for (const proof of proofs) repeated.push(await again.repeat(proof));
  return repeated;
}
