import type { CrmRecord } from '../crm.js';
import { everything } from './reading.js';
import { applies, expect, type Rule, type Theme } from './rule.js';
import { createPeople, current, keyOf, reached } from './trial.js';

const contact = { contactId: 'test-contact', name: 'Ines Example' };

const renews: Rule = {
  name: 'renews an expired token mid-run',
  reason: 'A run may take longer than a token lives. If the run fails each time, a first sync never ends.',
  advice: 'If the CRM answers 401, get a new token, and repeat the request once.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    applies(crm.dialect.tokensExpire, 'requests to this CRM are made with a key, which does not expire');
    const [{ externalId }] = createPeople(crm, 1) as [CrmRecord];
    const calls: Record<string, () => Promise<unknown>> = {
      readPage: () => adapter.readPage('contact', everything),
      read: () => adapter.read('contact', externalId),
      write: () => adapter.write(contact, keyOf(crm, { externalId })),
    };
    for (const [method, call] of Object.entries(calls)) {
      await call();
      crm.expireAccessTokens();
      await reached(call(), `After the token has expired, ${method}`);
    }
    expect(
      current(crm, externalId).name === contact.name,
      'After the token has expired, nothing was written.',
    );
  },
};

const namesAccount: Rule = {
  name: 'names the account',
  reason: 'Ids belong to an account: those of another would be taken for the same people.',
  advice:
    'Give account the name that credentialAccount of the package reads from the credentials: the worker compares exactly.',
  async check(trial) {
    const { crm, adapter } = await trial.startAndOpen();
    applies(crm.dialect.hasAccounts, 'who signs in to this CRM names no account');
    const { account } = adapter;
    const found = `The account is ${account ?? 'left out'}, and that of the connection ${crm.account}.`;
    expect(account === crm.account, found);
  },
};

export const signIn: Theme = { title: 'Sign-in', rules: [renews, namesAccount] };
