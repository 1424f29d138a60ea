import { setTimeout as sleep } from 'node:timers/promises';
import { checkEncryptedCredentials, jsonParameter } from '../connections/encrypted-credentials.js';
import { CrmSchemaError, type CrmSchemaErrorCode } from '../errors.js';
import * as queries from '../generated/credentials.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider } from '../types.js';
import { checkLimit } from '../validation.js';
import { checkKeyRing, type KeyRing } from './key-ring.js';
import { connectionsUnder, credentialsCountByKey, type KeyUsage } from './key-usage.js';

/** A connection whose credentials could not be put under the current key. */
export interface RotationFailure {
  /** Whose it is. */
  organisationId: string;
  /** The connection. */
  connectionId: string;
  /** The key that they are encrypted for. */
  keyId: string;
  /** What is wrong. */
  code: CrmSchemaErrorCode;
}

/** How far a rotation is. */
export interface RotationProgress {
  /** How many connections' credentials are under the current key by now that were not before. */
  rotated: number;
  /** How many there are to do, those included. */
  total: number;
}

/** How a rotation ended. */
export interface RotationResult {
  /** How many connections' credentials are now under the current key that were not before. */
  rotated: number;
  /** Those whose key is there and that could not be put under the current one; they are as they were. */
  failures: RotationFailure[];
  /** The keys that the ring cannot decrypt with, and how many connections are left under each. */
  lacking: KeyUsage[];
  /** How many are left under other keys, for whatever reason. */
  remaining: number;
}

/** One row of the work list. */
type Work = queries.CredentialsListByKeyResult;

/** A locked row is waited for so often, half a second each, before it is left for the next rotation. */
const patience = 10;

const firstId = '00000000-0000-0000-0000-000000000000';

/**
 * Puts the credentials of all organisations under the ring's current key, a batch at a time: one short
 * statement each, which skips rows that somebody has locked and comes back to them. What is inside and
 * its version stay, so nobody who is just replacing credentials notices. However it is interrupted,
 * each connection is under one key or the other, and a new rotation goes on where this one stopped.
 *
 * @param client not in a transaction, so that each batch commits, and at READ COMMITTED
 * @throws CrmSchemaError `invalid_input`; `key_cannot_decrypt` if the ring has only the public half of
 *   the current key: should the private half be lost, everything would be
 */
export async function credentialsRotate(
  client: Queryable,
  keys: KeyRing,
  options: {
    /** How many connections at a time: 1 to 1,000; 100 if not given. */
    batchSize?: number | undefined;
    /** Called after each batch. */
    onProgress?: ((progress: RotationProgress) => void) | undefined;
    /** Stops after the batch that is being written. */
    signal?: AbortSignal | undefined;
  } = {},
): Promise<RotationResult> {
  const { batchSize = 100, onProgress, signal } = options;
  checkKeyRing(keys);
  checkLimit(batchSize, 'batchSize');
  if (!keys.keys.some(({ isCurrent, canDecrypt }) => isCurrent && canDecrypt)) {
    throw new CrmSchemaError(
      'key_cannot_decrypt',
      `The key ring has only the public half of ${keys.current}: rotate with the ring of a service that decrypts.`,
    );
  }
  let rotated = 0;
  let most = Number.POSITIVE_INFINITY;
  let failures: RotationFailure[] = [];
  for (let idlePasses = 0; ; ) {
    const others = (await credentialsCountByKey(client, keys)).filter(
      ({ standing, connections }) => standing !== 'current' && connections > 0,
    );
    const work = others.filter(({ canDecrypt }) => canDecrypt);
    const waiting = connectionsUnder(work);
    if (waiting === failures.length || idlePasses === patience || rotated >= most || signal?.aborted) {
      const lacking = others.filter(({ canDecrypt }) => !canDecrypt);
      return { rotated, failures, lacking, remaining: connectionsUnder(others) };
    }
    const total = rotated + waiting;
    // A rotation towards another key, at the same time, would otherwise never end, nor would this one.
    if (most === Number.POSITIVE_INFINITY) most = 3 * total + 1000;
    const before = rotated;
    failures = [];
    for (const { keyId } of work) {
      for await (const batch of batches(client, keyId, batchSize)) {
        if (signal?.aborted) break;
        rotated += await rewrap(client, keys, keyId, batch, failures);
        onProgress?.({ rotated, total });
      }
    }
    if (rotated > before) idlePasses = 0;
    else if (failures.length < waiting) {
      // The rest is locked: a busy worker's rows are soon free.
      idlePasses += 1;
      await sleep(500);
    }
  }
}

async function* batches(client: Queryable, keyId: string, limit: number): AsyncGenerator<Work[]> {
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
 * Puts one batch under the current key.
 *
 * @param failures takes what cannot be decrypted
 * @returns how many rows were changed: those still as they had been read, and not locked
 */
async function rewrap(
  client: Queryable,
  keys: KeyRing,
  keyId: string,
  batch: readonly Work[],
  failures: RotationFailure[],
): Promise<number> {
  const attempts = await Promise.all(
    batch.map(async (row) => {
      const { organisationId, connectionId } = row;
      const owner = { organisationId, connectionId, provider: row.provider as Provider };
      try {
        const jwe = await keys.encrypt(owner, await keys.decrypt(owner, row.credentials));
        // One row that the database refuses must not stop the others.
        return { row, credentials: jsonParameter(checkEncryptedCredentials(owner, jwe)) };
      } catch (error) {
        if (!(error instanceof CrmSchemaError)) throw error;
        failures.push({ organisationId, connectionId, keyId, code: error.code });
        return [];
      }
    }),
  );
  const rewrapped = attempts.flat();
  if (rewrapped.length === 0) return 0;
  const stored = await queries.credentialsRewrap.run(
    {
      keyId,
      organisationIds: rewrapped.map(({ row }) => row.organisationId),
      connectionIds: rewrapped.map(({ row }) => row.connectionId),
      credentialsVersions: rewrapped.map(({ row }) => row.credentialsVersion),
      credentials: rewrapped.map(({ credentials }) => credentials),
    },
    client,
  );
  return stored.length;
}
