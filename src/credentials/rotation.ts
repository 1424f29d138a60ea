import { setTimeout as sleep } from 'node:timers/promises';
import {
  checkEncryptedCredentials,
  encryptedCredentialsParameter,
} from '../connections/encrypted-credentials.js';
import { CrmSchemaError, type CrmSchemaErrorCode } from '../errors.js';
import * as queries from '../generated/credentials.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider } from '../types.js';
import { checkLimit, checkParameter } from '../validation.js';
import { checkKeyRing, type KeyRing } from './key-ring.js';
import { connectionsUnder, credentialsCountByKey, type KeyUsage } from './keys-in-use.js';

/** A connection whose credentials could not be re-encrypted. */
export interface RotationFailure {
  /** The organisation's UUID. */
  organisationId: string;
  /** The connection's UUID. */
  connectionId: string;
  /** The key that its credentials are encrypted under. */
  keyId: string;
  /** The reason. */
  code: CrmSchemaErrorCode;
}

/** The progress of a rotation. */
export interface RotationProgress {
  /** The number of connections re-encrypted under the current key so far. */
  rotated: number;
  /** The number of connections to re-encrypt, including those already done. */
  total: number;
}

/** The result of a rotation. */
export interface RotationResult {
  /** The number of connections re-encrypted under the current key. */
  rotated: number;
  /** Connections whose key is in the key ring but that could not be re-encrypted; they are unchanged. */
  failures: RotationFailure[];
  /** Keys that the key ring cannot decrypt with, and the number of connections still under each. */
  lacking: KeyUsage[];
  /** The number of connections still under other keys, for any reason. */
  remaining: number;
}

/** One connection to re-encrypt. */
type WorkItem = queries.CredentialsListByKeyResult;

/**
 * How many passes without progress, half a second apart, before locked rows are left for the next rotation.
 */
const maxIdlePasses = 10;

const firstId = '00000000-0000-0000-0000-000000000000';

/**
 * Re-encrypts the credentials of all organisations under the key ring's current key, in batches. Each batch
 * is one short statement, which skips locked rows; later passes return to them. The content and version of
 * the credentials stay the same, so a concurrent replacement is not disturbed. However a rotation is
 * interrupted, each connection is wholly under one key, and the next rotation continues from there.
 *
 * @param client not in a transaction, because each batch must commit; at READ COMMITTED
 * @throws CrmSchemaError `invalid_input`; `key_cannot_decrypt` if the key ring has only the public half of
 *   the current key, because losing the private half would lose all credentials
 */
export async function credentialsRotate(
  client: Queryable,
  keys: KeyRing,
  options: {
    /** Connections per batch: 1 to 1,000; defaults to 100. */
    batchSize?: number | undefined;
    /** Called after each batch. */
    onProgress?: ((progress: RotationProgress) => void) | undefined;
    /** Stops the rotation after the current batch. */
    signal?: AbortSignal | undefined;
  } = {},
): Promise<RotationResult> {
  checkParameter('options', options);
  const { batchSize = 100, onProgress, signal } = options;
  checkKeyRing(keys);
  checkLimit(batchSize, 'batchSize');
  if (!keys.keys.some(({ isCurrent, canDecrypt }) => isCurrent && canDecrypt)) {
    throw new CrmSchemaError(
      'key_cannot_decrypt',
      `The key ring has only the public half of ${keys.current}: rotate with the key ring of a service that can decrypt.`,
    );
  }
  let rotated = 0;
  let maxRotated = Number.POSITIVE_INFINITY;
  let failures: RotationFailure[] = [];
  for (let idlePasses = 0; ; ) {
    const others = (await credentialsCountByKey(client, keys)).filter(
      ({ standing, connections }) => standing !== 'current' && connections > 0,
    );
    const work = others.filter(({ canDecrypt }) => canDecrypt);
    const waiting = connectionsUnder(work);
    if (
      waiting === failures.length ||
      idlePasses === maxIdlePasses ||
      rotated >= maxRotated ||
      signal?.aborted
    ) {
      const lacking = others.filter(({ canDecrypt }) => !canDecrypt);
      return { rotated, failures, lacking, remaining: connectionsUnder(others) };
    }
    const total = rotated + waiting;
    // Without a limit, two concurrent rotations to different keys would never end.
    if (maxRotated === Number.POSITIVE_INFINITY) maxRotated = 3 * total + 1000;
    const before = rotated;
    failures = [];
    for (const { keyId } of work) {
      for await (const batch of batches(client, keyId, batchSize)) {
        if (signal?.aborted) break;
        rotated += await reEncrypt(client, keys, keyId, batch, failures);
        onProgress?.({ rotated, total });
      }
    }
    if (rotated > before) idlePasses = 0;
    else if (failures.length < waiting) {
      // The rest is locked, usually by a worker that will soon release it.
      idlePasses += 1;
      await sleep(500);
    }
  }
}

async function* batches(client: Queryable, keyId: string, limit: number): AsyncGenerator<WorkItem[]> {
  let after = { organisationId: firstId, connectionId: firstId };
  for (;;) {
    const batch = await queries.credentialsListByKey.run(
      { keyId, limit, afterOrganisationId: after.organisationId, afterConnectionId: after.connectionId },
      client,
    );
    const last = batch.at(-1);
    if (last === undefined) return;
    yield batch;
    after = last;
  }
}

/**
 * Re-encrypts one batch under the current key.
 *
 * @param failures collects the connections that cannot be decrypted
 * @returns the number of rows changed: those unchanged since they were read, and not locked
 */
async function reEncrypt(
  client: Queryable,
  keys: KeyRing,
  keyId: string,
  batch: readonly WorkItem[],
  failures: RotationFailure[],
): Promise<number> {
  const attempts = await Promise.all(
    batch.map(async (row) => {
      const { organisationId, connectionId } = row;
      const owner = { organisationId, connectionId, provider: row.provider as Provider };
      try {
        const jwe = await keys.encrypt(owner, await keys.decrypt(owner, row.credentials));
        // Checked here, because one row that the database refuses would fail the whole batch.
        return { row, credentials: encryptedCredentialsParameter(checkEncryptedCredentials(owner, jwe)) };
      } catch (error) {
        if (!(error instanceof CrmSchemaError)) throw error;
        failures.push({ organisationId, connectionId, keyId, code: error.code });
        return [];
      }
    }),
  );
  const reEncrypted = attempts.flat();
  if (reEncrypted.length === 0) return 0;
  const stored = await queries.credentialsRewrap.run(
    {
      keyId,
      organisationIds: reEncrypted.map(({ row }) => row.organisationId),
      connectionIds: reEncrypted.map(({ row }) => row.connectionId),
      credentialsVersions: reEncrypted.map(({ row }) => row.credentialsVersion),
      credentials: reEncrypted.map(({ credentials }) => credentials),
    },
    client,
  );
  return stored.length;
}
