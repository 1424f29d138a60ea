import type { SignInSettings } from '../../examples/adapters/reapit-sign-in.js';
import { CrmError } from '../../examples/crm.js';
import type { Habits } from '../../examples/simulated-crm/habits.js';
import { type SimulatedCrm, startSimulatedCrm } from '../../examples/simulated-crm/server.js';
import { credentialsConnect } from '../../src/credentials.js';
import type { ConnectionKey } from '../../src/index.js';
import { reapitAppAt, reapitPlaces } from '../simulated-crm/client.js';
import { testKeyRing } from '../support/credentials.js';
import { createTenant, type TestDatabase } from '../support/database.js';

const started: SimulatedCrm[] = [];

/** Starts a simulated Reapit. `stopAll` stops it. */
export async function startReapit(habits: Partial<Habits> = {}): Promise<SimulatedCrm<'reapit'>> {
  const crm = await startSimulatedCrm({ provider: 'reapit', seed: 1, habits });
  started.push(crm);
  return crm;
}

export async function stopAll(): Promise<void> {
  await Promise.all(started.splice(0).map((crm) => crm.stop()));
}

/** An agency's connection to a simulated Reapit, and how a worker opens it. */
export interface ReapitConnection extends ConnectionKey {
  provider: 'reapit';
  settings: SignInSettings & typeof reapitPlaces & { apiUrl: string };
}

export async function connectReapit(
  { pool }: TestDatabase,
  crm: SimulatedCrm<'reapit'>,
  credentials = crm.credentials,
): Promise<ReapitConnection> {
  const { organisationId } = await createTenant(pool);
  const keys = await testKeyRing();
  const { connectionId } = await credentialsConnect(pool, keys, {
    organisationId,
    provider: 'reapit',
    credentials,
  });
  const { url } = crm;
  const settings = { pool, keys, app: reapitAppAt(url), apiUrl: url, patience: 300, ...reapitPlaces };
  return { organisationId, connectionId, provider: 'reapit', settings };
}

/** The error of an attempt that must fail with a `CrmError`. */
export function failure(attempt: Promise<unknown>): Promise<CrmError> {
  return attempt.then(
    () => Promise.reject(new Error('The attempt should have failed.')),
    (error) => (error instanceof CrmError ? error : Promise.reject(error)),
  );
}
