// Pushes the contacts that an agency had before it connected the CRM (outboundFillStart), a few at a time.
import { type ClaimedRun, connectionRequestSync, outboundFillContinue } from '@nurturehub/crm-schema';
import type pg from 'pg';

/** How many pages of contacts a run looks at, if none of them has to be pushed. */
const longestSearch = 20;

/** Records contacts to push in this run, until a hundred wait. Does nothing if no fill is under way. */
export async function continueFirstFill(pool: pg.Pool, run: ClaimedRun): Promise<void> {
  for (let page = 0; page < longestSearch; page += 1) {
    const { outcome } = await outboundFillContinue(pool, { ...run, limit: 500, maxWaiting: 100 });
    if (outcome !== 'continued') return;
  }
  // Another run continues, after other connections have had their turn.
  await connectionRequestSync(pool, { ...run, connectionIds: [run.connectionId] });
}
