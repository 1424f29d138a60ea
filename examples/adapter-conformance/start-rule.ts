import { entityTypesOf, everything } from './reading.js';
import { expect, type Rule, type Theme } from './rule.js';
import { createPeople } from './trial.js';

/** Without it, all others would be broken, and none would say more. */
export const readsAPage: Rule = {
  name: 'opens, and reads a page',
  reason: 'No other rule is tried before that.',
  advice:
    'Compare the request with what docs/adapters.md says of this CRM: how to sign in, the headers, and the path.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    createPeople(crm, 3);
    const [entityType = ''] = entityTypesOf(adapter);
    const { records } = await adapter.readPage(entityType, everything);
    expect(Array.isArray(records), 'The first page has no list of records.');
  },
};

export const start: Theme = { title: 'A first page', rules: [readsAPage] };
