import type { Provider } from '../types.js';
import { type Credentials, checkCredentials } from './credential-checks.js';

/** Where each CRM's credentials name the account. */
const accountOf: { [P in Provider]: (credentials: Credentials<P>) => string | undefined } = {
  agentos: ({ shortName }) => shortName,
  reapit: ({ customer }) => customer,
  // Upper and lower case mean the same in a GUID.
  alto: ({ agencyRef }) => agencyRef.toLowerCase(),
  street: () => undefined,
  loop: () => undefined,
  custom: () => undefined,
};

/**
 * Returns the account at the CRM that credentials are for, by the CRM's own name: `shortName` of agentOS,
 * `customer` of Reapit, `agencyRef` of Alto in lower case. Null if they do not name one.
 *
 * @param provider the CRM
 * @param credentials in clear text
 * @throws CrmSchemaError `invalid_credentials`, naming the field and never its value; `unknown_provider`
 */
export function credentialAccount<P extends Provider>(
  provider: P,
  credentials: Credentials<P>,
): string | null {
  const checked = checkCredentials(provider, credentials);
  return accountOf[provider](checked) ?? null;
}
