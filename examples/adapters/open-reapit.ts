// Signs in to Reapit for one connection and makes its adapter: for `openCrm` of the worker.
import type { ConnectionKey } from '@nurturehub/crm-schema';
import type { Crm } from '../crm.js';
import { sender } from './http.js';
import { type ReapitOptions, reapitCrm } from './reapit.js';
import { ReapitSession, type SignInSettings } from './reapit-sign-in.js';

export interface ReapitSettings extends SignInSettings, Pick<ReapitOptions, 'newContacts' | 'resources'> {
  /** Reapit's API: https://platform.reapit.cloud */
  apiUrl: string;
  /** How long the API may take to answer; defaults to 30,000. */
  timeoutMilliseconds?: number | undefined;
}

/** @throws as `ReapitSession.open` */
export async function openReapit(settings: ReapitSettings, connection: ConnectionKey): Promise<Crm> {
  const session = await ReapitSession.open(settings, connection);
  const { apiUrl, timeoutMilliseconds = 30_000, newContacts, resources } = settings;
  const { account: connected, credentials } = session.stored;
  // Several customers may share one database: then the connection has the name that was chosen for it.
  const account = connected ?? credentials.customer;
  const send = session.signing(sender({ url: apiUrl, timeoutMilliseconds }));
  return {
    ...reapitCrm(send, { account, newContacts, ...(resources && { resources }) }),
    // Reapit counts requests by customer.
    rateLimitScope: account,
    get credentialsVersion() {
      return session.stored.credentialsVersion;
    },
  };
}
