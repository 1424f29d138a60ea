import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { type ConnectionKey, contactExternalIdLink } from '../../src/index.js';
import { contactErase, contactEraseAgain, ErasureKey, erasureList } from '../../src/migrations.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { placesOf } from '../support/erasure.js';

// An erasure that counts nothing is taken back: whatever names the person must count.

const { pool, url } = useDatabase();
const key = ErasureKey.parse(randomBytes(32).toString('base64'));

let organisationId: string;
let ottoline: string;
let barnaby: string;
let connection: ConnectionKey;

beforeEach(async () => {
  const tenant = await createTenant(pool, 2);
  organisationId = tenant.organisationId;
  [ottoline, barnaby] = tenant.contactIds as [string, string];
  connection = await connect(pool, organisationId, 'reapit');
});

describe('the position of a fill', () => {
  /** As where a fill came to the contact after an erasure, and the host has deleted it since. */
  async function leavePosition() {
    await pool.query(
      'update crm_connections set fill_started_at = now(), filled_contacts = 1, fill_contact_id = $2 where id = $1',
      [connection.connectionId, ottoline],
    );
    await pool.query('delete from contacts where id = $1', [ottoline]);
  }

  test('is counted if nothing else names the person', async () => {
    await leavePosition();
    await withClient(url, async (client) => {
      const { counts } = await contactErase(client, key, { organisationId, contactId: ottoline });
      expect(counts).toMatchObject({ crm_connections: 1 });
    });
    expect(await placesOf(pool, ottoline)).toEqual([]);
  });

  test('is erased again if nothing else names the person', async () => {
    await withClient(url, async (client) => {
      await contactErase(client, key, { organisationId, contactId: ottoline });
      await leavePosition();
      const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
      expect(await contactEraseAgain(client, key, proofs)).toMatchObject([
        { outcome: 'erased', counts: { crm_connections: 1 } },
      ]);
      expect(await placesOf(pool, ottoline)).toEqual([]);
      expect(await contactEraseAgain(client, key, proofs)).toMatchObject([{ outcome: 'absent' }]);
    });
  });
});

test.each([
  ['contact_external_id_aliases', 'provider', "'reapit'"],
  ['contact_external_id_archive', 'connection_id, is_primary', '$4::uuid, false'],
])(
  'a record of another contact in %s that was merged into one of theirs is erased again if nothing else names that',
  async (table, columns, values) => {
    const x = `X-${organisationId.slice(0, 8)}`;
    const link = (externalId: string, contactId: string) =>
      contactExternalIdLink(pool, {
        organisationId,
        provider: 'reapit',
        entityType: 'contact',
        externalId,
        contactId,
      });
    await link(x, ottoline);
    await link('HIS', barnaby);
    await withClient(url, async (client) => {
      await contactErase(client, key, { organisationId, contactId: ottoline });
      // As in a backup that has no more of her than this.
      await pool.query(
        `insert into ${table} (organisation_id, entity_type, external_id, contact_id, first_seen_at, last_seen_at, remote_state, merged_into_entity_type, merged_into_external_id, ${columns})
         select $1, 'contact', 'HIS-TOO', $2, now(), now(), 'merged', 'contact', $3, ${values}
         where $4::uuid is not null`,
        [organisationId, barnaby, x, connection.connectionId],
      );
      expect(await placesOf(pool, x)).toHaveLength(1);
      const proofs = (await erasureList(client)).filter((proof) => proof.organisationId === organisationId);
      expect(await contactEraseAgain(client, key, proofs)).toMatchObject([
        { outcome: 'erased', counts: { [table]: 1 } },
      ]);
      expect(await placesOf(pool, x)).toEqual([]);
      expect(await contactEraseAgain(client, key, proofs)).toMatchObject([{ outcome: 'absent' }]);
    });
  },
);
