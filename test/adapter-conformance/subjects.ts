import type { Access, Subject } from '../../examples/adapter-conformance/rule.js';
import type { Crm } from '../../examples/crm.js';
import type { Provider } from '../../src/index.js';
import { refreshAccessToken, simulatedCrmClient } from '../simulated-crm/client.js';

/** The project's own adapter of a CRM, changed by `change`. */
export function subjectOf<P extends Provider>(
  provider: P,
  change: (adapter: Crm) => Crm = (adapter) => adapter,
): Subject<P> {
  return { provider, open: async (access) => change(await open(provider, access)) };
}

async function open<P extends Provider>(provider: P, access: Access<P>): Promise<Crm> {
  let { credentials } = access;
  if ('grant' in credentials) {
    const refreshed = await refreshAccessToken(access.url, credentials as never);
    credentials = refreshed.credentials as typeof credentials;
  }
  return simulatedCrmClient(provider, { ...access, credentials });
}
