import type { CrmRecord } from '../crm.js';
import { entityTypesOf } from './reading.js';
import { expect, type Rule, type Theme } from './rule.js';
import { createPeople, reached } from './trial.js';

const readsOne: Rule = {
  name: 'reads one record as it is now',
  reason: 'The worker reads what failed before, and what a webhook names.',
  advice: 'Ask the CRM for the record by its id and type, each time.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    for (const entityType of entityTypesOf(adapter)) {
      const [{ externalId }] = createPeople(crm, 1, entityType) as [CrmRecord];
      await adapter.read(entityType, externalId);
      crm.edit(externalId, 'Zoe Edited-1');
      const record = await adapter.read(entityType, externalId);
      const found = `A record of type ${entityType} that was edited to Zoe Edited-1 is read as ${record?.name ?? 'null'}.`;
      expect(record?.name === 'Zoe Edited-1', found);
    }
  },
};

const readsNull: Rule = {
  name: 'reads null for a record that is not shown',
  reason: 'An error would be retried for a day, and then stay as a failure.',
  advice: 'Return null if the CRM answers 404.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const [hidden, deleted] = createPeople(crm, 2) as [CrmRecord, CrmRecord];
    crm.hide(hidden.externalId);
    crm.delete(deleted.externalId);
    for (const externalId of [hidden.externalId, deleted.externalId, 'no-such-record']) {
      const record = await reached(adapter.read('contact', externalId), 'A record that is not shown');
      expect(record?.state !== 'active', 'A record that is not shown is read as an active one.');
    }
  },
};

const encodesIds: Rule = {
  name: 'encodes ids in addresses',
  reason: 'Ids are text of any kind: with a slash or a question mark, another address would be asked.',
  advice: 'Use encodeURIComponent for each part of an address that comes from elsewhere.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    const [{ externalId }] = createPeople(crm, 1) as [CrmRecord];
    for (const other of [`${externalId}?a=b`, `no-such-record/../${externalId}`, `${externalId}#a`]) {
      const record = await adapter.read('contact', other).catch(() => null);
      expect(record?.state !== 'active', `The id ${other} reads the record ${externalId}.`);
    }
  },
};

export const reads: Theme = { title: 'Single records', rules: [readsOne, readsNull, encodesIds] };
