// Signs in to Reapit for one connection, as the worker does, and refreshes its token if necessary: to see whether a
// connection's credentials work. A member of crm_worker may run it at any time, beside any number of workers.
//   CRM_SCHEMA_KEYS=keys.json DATABASE_URL=postgres://… TOKEN_URL=https://connect.reapit.cloud/token \
//     CLIENT_ID=… CLIENT_SECRET=… npx tsx refresh-token.ts <organisation id> <connection id>
import { connectionSetStatus } from '@nurturehub/crm-schema';
import { credentialsCheckKeys, KeyRing } from '@nurturehub/crm-schema/credentials';
import pg from 'pg';
import { ReapitSession } from './adapters/reapit-sign-in.js';
import { CrmError } from './crm.js';
import { isCode } from './errors.js';

const [organisationId, connectionId] = process.argv.slice(2);
const { DATABASE_URL, TOKEN_URL, CLIENT_ID = '', CLIENT_SECRET = '' } = process.env;
if (organisationId === undefined || connectionId === undefined || TOKEN_URL === undefined) {
  console.error('Usage: TOKEN_URL=https://… refresh-token.ts <organisation id> <connection id>');
  process.exit(2);
}
const connection = { organisationId, connectionId };
const pool = new pg.Pool({ connectionString: DATABASE_URL });

// At start, so that a missing, malformed or incomplete key ring is found now and not in the middle of a sync.
const keys = await KeyRing.load();
await credentialsCheckKeys(pool, keys);

/** Says what came of it. Outside a run, nobody else puts a connection in error whose refresh token is refused. */
async function signIn(): Promise<string> {
  const app = { tokenUrl: TOKEN_URL as string, client: { id: CLIENT_ID, secret: CLIENT_SECRET } };
  try {
    const { stored } = await ReapitSession.open({ pool, keys, app }, connection);
    return `Signed in until ${stored.credentialsExpiresAt ?? 'the CRM refuses the token'}.`;
  } catch (error) {
    process.exitCode = 1;
    // Refused for good: the connection is in error already.
    if (isCode(error, 'credentials_refused')) return 'Not signed in.';
    if (!(error instanceof CrmError) || error.credentialsVersion === undefined) throw error;
    // With the version, so that this changes nothing if another worker has refreshed the token meanwhile.
    const { message: reason, credentialsVersion } = error;
    await connectionSetStatus(pool, { ...connection, status: 'error', reason, credentialsVersion });
    return 'Not signed in.';
  }
}

try {
  console.log(await signIn());
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
} finally {
  await pool.end();
}
