import type { ClientBase } from 'pg';
import { syncBatchRecord, syncRunClaim, syncRunFinish } from '../src/index.js';
import type { Contact } from './people.js';

/**
 * Records a push in a run, which remembers the version that the CRM gave to it: that is how the push is recognised
 * when it comes back. Takes the connection that has been due longest.
 */
export async function recordPush(
  client: ClientBase,
  push: {
    occurredAt: string;
    entityType: string;
    externalId: string;
    contact: Contact;
    remoteVersion: string;
  },
): Promise<void> {
  const [run] = await syncRunClaim(client, { worker: 'demo', limit: 1 });
  if (run === undefined) throw new Error('No connection is due.');
  const { contact, ...fields } = push;
  const event = { ...fields, direction: 'outbound', internalId: contact.id, status: 'success' } as const;
  await syncBatchRecord(client, { ...run, batchNumber: 1, events: [event] });
  await syncRunFinish(client, { ...run, outcome: 'success' });
}
