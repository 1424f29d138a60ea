import { beforeEach, describe, expect, test } from 'vitest';
import {
  connectionDisconnect,
  connectionSetAccount,
  contactExternalIdLink,
  contactExternalIdLinkMany,
  contactExternalIdRepoint,
  contactExternalIdUnlink,
  contactMerge,
  contactMergeUndo,
  externalRecordCheckMany,
  externalRecordMergeMany,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { eraseContacts } from '../support/erasure.js';
import { useMember } from '../support/roles.js';

// The CRM has two accounts, and both have a record X: that of the first was Ottoline's, who was erased; that of the
// second is Barnaby's, who stays.

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');

let organisationId: string;
let barnaby: string;
let third: string;

const record = (externalId: string) => ({ provider: 'alto', entityType: 'contact', externalId }) as const;
const x = record('X');
const y = record('Y');

async function connectTo(account: string | null) {
  const key = await connect(pool, organisationId, 'alto');
  if (account !== null) await connectionSetAccount(pool, { ...key, account });
  return key;
}

const links = async () =>
  (
    await pool.query(
      `select external_id as id, contact_id as "contactId", is_primary as "isPrimary"
       from contact_external_records
       where organisation_id = $1
       order by external_id collate "C"`,
      [organisationId],
    )
  ).rows;

const link = (linked: typeof x, contactId: string) =>
  contactExternalIdLinkMany(worker, {
    organisationId,
    links: [{ ...linked, contactId }],
    ifContactTaken: 'alias',
  });

/** In the situation that the name says, when Barnaby has been linked and Ottoline erased. */
const situations: [string, () => Promise<void>][] = [
  ['no connection is live', async () => {}],
  ['the account of the live connection is unknown', async () => void (await connectTo(null))],
  [
    'she had the id in several accounts',
    async () => {
      await pool.query('update crm_erased_records set account = null where organisation_id = $1', [
        organisationId,
      ]);
    },
  ],
];

describe.each(situations)('while %s', (situation, arrange) => {
  beforeEach(async () => {
    const tenant = await createTenant(pool, 3);
    organisationId = tenant.organisationId;
    const [ottoline, ...others] = tenant.contactIds as [string, string, string];
    [barnaby, third] = others as [string, string];
    const first = await connectTo('first');
    await contactExternalIdLink(worker, { organisationId, ...x, contactId: ottoline });
    await connectionDisconnect(pool, first);
    const second = await connectTo('second');
    await link(y, barnaby);
    await link(x, barnaby);
    await eraseContacts(pool, organisationId, [ottoline]);
    await connectionDisconnect(pool, second);
    await arrange();
    expect(await links()).toEqual([
      { id: 'X', contactId: barnaby, isPrimary: false },
      { id: 'Y', contactId: barnaby, isPrimary: true },
    ]);
  });

  test('a merge and its undoing keep the link of a contact that stays', async () => {
    await contactExternalIdUnlink(worker, { organisationId, ...y, contactId: barnaby });
    expect(await links()).toEqual([{ id: 'X', contactId: barnaby, isPrimary: true }]);
    await link(record('Z'), third);
    const { operationId } = await contactMerge(worker, {
      organisationId,
      fromContactId: barnaby,
      intoContactId: third,
    });
    expect(await links()).toEqual([
      { id: 'X', contactId: third, isPrimary: false },
      { id: 'Z', contactId: third, isPrimary: true },
    ]);
    await contactMergeUndo(worker, { organisationId, operationId });
    expect(await links()).toEqual([
      { id: 'X', contactId: barnaby, isPrimary: true },
      { id: 'Z', contactId: third, isPrimary: true },
    ]);
  });

  test('unlinking the primary id makes the alias primary', async () => {
    await contactExternalIdUnlink(worker, { organisationId, ...y, contactId: barnaby });
    expect(await links()).toEqual([{ id: 'X', contactId: barnaby, isPrimary: true }]);
  });

  test('re-pointing the primary id moves it', async () => {
    await contactExternalIdUnlink(worker, { organisationId, ...y, contactId: barnaby });
    await contactExternalIdRepoint(worker, {
      organisationId,
      ...x,
      fromContactId: barnaby,
      toContactId: third,
    });
    expect(await links()).toEqual([{ id: 'X', contactId: third, isPrimary: true }]);
  });

  test('a merge at the CRM makes the alias primary', async () => {
    const merge = (from: string, into: string) =>
      externalRecordMergeMany(worker, {
        organisationId,
        provider: 'alto',
        merges: [
          {
            from: { entityType: 'contact', externalId: from },
            into: { entityType: 'contact', externalId: into },
          },
        ],
      });
    expect(await merge('Y', 'X')).toMatchObject([{ outcome: 'merged' }]);
    expect(await links()).toEqual([
      { id: 'X', contactId: barnaby, isPrimary: true },
      { id: 'Y', contactId: barnaby, isPrimary: false },
    ]);
  });

  test('the record is known, and linking it again confirms the link', async () => {
    expect(
      await externalRecordCheckMany(worker, {
        organisationId,
        provider: 'alto',
        records: [{ entityType: 'contact', externalId: 'X' }],
      }),
    ).toMatchObject([{ contactId: barnaby }]);
    expect(await link(x, barnaby)).toEqual([{ outcome: 'already_linked' }]);
  });

  test('once a transaction has unlinked it, the next one does not link it unless it is known to be of another account', async () => {
    await contactExternalIdUnlink(worker, { organisationId, ...x, contactId: barnaby });
    const [linked] = await link(x, third);
    expect(linked?.outcome).toBe(situation === 'no connection is live' ? 'linked' : 'erased');
  });
});
