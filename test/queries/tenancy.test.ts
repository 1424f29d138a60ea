import { expect, test } from 'vitest';
import { createTenant, useDatabase } from '../support/database.js';
import { createSamples, type QueryName, queries, queryNames } from './every-query.js';

const { pool } = useDatabase();

const tables = [
  'crm_connections',
  'crm_sync_log',
  'crm_sync_runs',
  'crm_sync_cursors',
  'crm_sync_failures',
  'crm_outbound_changes',
  'contact_external_ids',
  'contact_external_id_archive',
  'contact_external_id_aliases',
  'contact_external_id_changes',
];

/** All rows of a tenant, as text to compare. */
async function belongings(organisationId: string): Promise<unknown> {
  const contents = await Promise.all(
    tables.map((table) =>
      pool.query(`select row::text from ${table} as row where organisation_id = $1 order by 1`, [
        organisationId,
      ]),
    ),
  );
  return contents.map(({ rows }) => rows);
}

/** Queries of operators and sync workers across all organisations, and one that reads no table. */
const overAllTenants: QueryName[] = [
  'connectionListLiveByAccount',
  'connectionListTotals',
  'connectionTotalWork',
  'credentialsClaimRevocation',
  'credentialsCountByKey',
  'credentialsListByKey',
  'credentialsRewrap',
  'organisationSet',
  'outboundChangeAnnounce',
  'rateLimitBlock',
  'rateLimitPurge',
  'rateLimitTake',
  'syncRunCheckHousekeeping',
  'syncRunClaim',
  'syncRunPurge',
  'syncRunSweep',
];

test.each(queryNames.filter((name) => !overAllTenants.includes(name)))(
  '%s neither reads nor changes rows of another organisation',
  async (name) => {
    const samples = await createSamples(pool);
    const owner = (samples.connectionGetLive[0] as { organisationId: string }).organisationId;
    const { organisationId: stranger } = await createTenant(pool);
    const before = await belongings(owner);
    for (const params of samples[name]) {
      const rows = await queries[name]
        .run({ ...params, organisationId: stranger }, pool)
        .catch(({ code }: { code: string }) => [{ refused: code }]);
      switch (name) {
        case 'connectionConnect':
          expect(rows).toEqual([{ refused: 'credentials_bound_elsewhere' }]);
          break;
        case 'syncLogRecord':
          expect([[{ refused: 'wrong_tenant' }], [{ recorded: 0, inFuture: 1 }]]).toContainEqual(rows);
          break;
        case 'syncConflictAcknowledge':
          expect(rows).toEqual([{ acknowledged: 0 }]);
          break;
        case 'contactExternalIdLock':
          expect(rows).toEqual([{ isLocked: true }]);
          break;
        case 'contactExternalIdLink':
        case 'contactExternalIdRepoint':
          expect(rows).toMatchObject([{ position: 1, outcome: 'wrong_tenant' }]);
          break;
        case 'contactMerge':
          expect(rows).toMatchObject([{ outcome: 'wrong_tenant' }]);
          break;
        case 'externalRecordMergeMany':
          expect(rows).toMatchObject([{ outcome: 'unknown' }, { outcome: 'unknown' }]);
          break;
        case 'externalRecordCheck':
          for (const row of rows) expect(row).toMatchObject({ decision: 'unknown', contactId: null });
          break;
        case 'contactReferenceCheckMany':
          for (const row of rows) expect(row).toMatchObject({ isUnlinked: false, isKnown: false });
          break;
        case 'syncLogCountByPeriod':
          expect(rows).toMatchObject([{ success: 0, skipped: 0, error: 0, isCapped: false }]);
          break;
        case 'contactExportContacts':
          // The contact that was asked for.
          expect(rows).toEqual([{ contactId: expect.any(String), mergedIntoId: null, mergedAt: null }]);
          break;
        default:
          expect(rows).toEqual([]);
      }
    }
    expect(await belongings(owner)).toEqual(before);
    expect(await belongings(stranger)).toEqual(tables.map(() => []));
  },
);
