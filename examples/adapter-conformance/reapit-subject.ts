// The subject for Reapit's adapter: how the conformance suite opens it. Copy it for an adapter of your own.
//   npx tsx adapter-conformance/run.ts adapter-conformance/reapit-subject.ts
import { type Send, sender, withHeaders } from '../adapters/http.js';
import { reapitCrm } from '../adapters/reapit.js';
import { newReapitCredentials } from '../adapters/reapit-sign-in.js';
import { type Crm, CrmError } from '../crm.js';
import { reapitApp } from '../simulated-crm/keys.js';
import type { Access, Subject } from './rule.js';

const subject: Subject<'reapit'> = {
  provider: 'reapit',
  open: async (access) => adapterOf(access, await signing(access)),
};

export default subject;

export function adapterOf({ credentials }: Access<'reapit'>, send: Send): Crm {
  const newContacts = { officeIds: ['OXF'], negotiatorIds: ['JAS'] };
  const resources = { contact: '/contacts', landlord: '/landlords' };
  return reapitCrm(send, { account: credentials.customer, newContacts, resources });
}

/** Signs in, and again after a 401, as ReapitSession does. It keeps tokens in memory, because there is no database here. */
export async function signing({ url, credentials, timeoutMilliseconds }: Access<'reapit'>): Promise<Send> {
  const app = { tokenUrl: `${url}/token`, client: reapitApp, timeoutMilliseconds };
  let current = { credentials, credentialsVersion: 1 };
  const renew = async () => {
    const renewed = await newReapitCredentials(app, current);
    if ('refused' in renewed) throw new CrmError('auth', renewed.refused, { retryable: false });
    current = { credentials: renewed.credentials, credentialsVersion: current.credentialsVersion + 1 };
  };
  const send = sender({ url, timeoutMilliseconds });
  const sendSigned: Send = (request) => {
    const { accessToken, customer = '' } = current.credentials;
    const headers = { authorization: `Bearer ${accessToken}`, 'api-version': '2020-01-31' };
    return withHeaders(send, { ...headers, 'reapit-customer': customer })(request);
  };
  await renew();
  return async (request) => {
    try {
      return await sendSigned(request);
    } catch (error) {
      if (!(error instanceof CrmError && error.kind === 'auth')) throw error;
    }
    await renew();
    return sendSigned(request);
  };
}
