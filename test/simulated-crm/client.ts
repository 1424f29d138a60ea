import { type Send, sender } from '../../examples/adapters/http.js';
import { reapitCrm } from '../../examples/adapters/reapit.js';
import { newReapitCredentials, type ReapitApp } from '../../examples/adapters/reapit-sign-in.js';
import { type Crm, CrmError } from '../../examples/crm.js';
import { reapitApp } from '../../examples/simulated-crm/keys.js';
import type { Credentials, CredentialsByProvider } from '../../src/credentials.js';
import type { Provider } from '../../src/index.js';
import { agentosCrm } from './adapters/agentos.js';
import { altoCrm } from './adapters/alto.js';
import { customCrm } from './adapters/custom.js';
import { loopCrm } from './adapters/loop.js';
import { streetCrm } from './adapters/street.js';

/** The address of a simulated CRM, and how to sign in to it. */
export interface ClientOptions<P extends Provider = Provider> {
  url: string;
  credentials: Credentials<P>;
  /** Used instead of the one in the credentials (Reapit, Alto). */
  accessToken?: string | undefined;
  /** The timeout of one request. */
  timeoutMilliseconds: number;
}

/** The adapter of a CRM. It throws only `CrmError`. */
export function simulatedCrmClient<P extends Provider>(provider: P, options: ClientOptions<P>): Crm {
  const connect = connectors[provider] as (options: ClientOptions<P>) => Crm;
  return connect(options);
}

const connectors: { [P in Provider]: (options: ClientOptions<P>) => Crm } = {
  agentos({ credentials: { apiKey, shortName }, ...options }) {
    return agentosCrm(sender({ ...options, headers: () => ({ api_key: apiKey }) }), shortName);
  },
  reapit({ credentials, accessToken = credentials.accessToken, ...options }) {
    const headers = () => {
      if (accessToken === undefined) throw noToken();
      return {
        ...bearer(accessToken),
        'reapit-customer': credentials.customer ?? 'SBOX',
        'api-version': credentials.apiVersion ?? '2020-01-31',
      };
    };
    return reapitCrm(sender({ ...options, headers }), {
      account: credentials.customer ?? 'SBOX',
      ...reapitPlaces,
    });
  },
  alto({ credentials, accessToken: given = credentials.accessToken, ...options }) {
    let accessToken = given;
    const { client, agencyRef } = credentials;
    const send = sender({
      ...options,
      headers: async () => {
        accessToken ??= await altoAccessToken(options, client);
        return { ...bearer(accessToken), AgencyRef: agencyRef };
      },
    });
    return altoCrm(async (request) => {
      try {
        return await send(request);
      } catch (error) {
        // The token may have expired: repeat the request with a new one.
        if (client === undefined || !(error instanceof CrmError) || error.kind !== 'auth') throw error;
        accessToken = undefined;
        return await send(request);
      }
    }, agencyRef.toLowerCase());
  },
  street({ credentials, ...options }) {
    return streetCrm(sender({ ...options, headers: () => bearer(credentials.token) }));
  },
  loop({ credentials, ...options }) {
    return loopCrm(
      sender({ ...options, headers: () => ({ 'x-api-key': credentials.apiKey }), errorIn: loopError }),
    );
  },
  custom({ credentials, ...options }) {
    const headers = (): Record<string, string> =>
      credentials.scheme === 'bearer'
        ? bearer(credentials.token)
        : { [credentials.header]: credentials.apiKey };
    return customCrm(sender({ ...options, headers }));
  },
};

/** Where the simulated Reapit has people, and where new ones go. */
export const reapitPlaces = {
  newContacts: { officeIds: ['OXF'], negotiatorIds: ['JAS'] },
  resources: { contact: '/contacts', landlord: '/landlords' },
};

/** The client of our app at the simulated Reapit, and where it signs in. */
export function reapitAppAt(url: string, timeoutMilliseconds?: number): ReapitApp {
  return { tokenUrl: `${url}/token`, client: reapitApp, timeoutMilliseconds };
}

/**
 * Exchanges Reapit's single-use refresh token. Store the result before you use it.
 *
 * @returns the credentials with the next refresh token and an access token, and when the latter expires
 * @throws CrmError `auth`, not retryable, if the token was already used: a user must sign in again; after a
 *   `network` or `timeout` error it may also have been used
 */
export async function refreshAccessToken(
  url: string,
  credentials: CredentialsByProvider['reapit'],
  timeoutMilliseconds = 5_000,
): Promise<{ credentials: CredentialsByProvider['reapit']; credentialsExpiresAt: Date }> {
  const app = reapitAppAt(url, timeoutMilliseconds);
  const answer = await newReapitCredentials(app, { credentials, credentialsVersion: 1 });
  if ('refused' in answer) throw new CrmError('auth', answer.refused, { retryable: false });
  return { ...answer, credentialsExpiresAt: answer.credentialsExpiresAt as Date };
}

async function altoAccessToken(
  options: { url: string; timeoutMilliseconds: number },
  client: CredentialsByProvider['alto']['client'],
): Promise<string> {
  if (client === undefined) throw noToken();
  const body = await requestToken(sender(options), {
    grant_type: 'client_credentials',
    client_id: client.id,
    client_secret: client.secret,
  });
  return body.access_token;
}

async function requestToken(send: Send, form: Record<string, string>): Promise<{ access_token: string }> {
  const body = new URLSearchParams(form);
  const answer = await send({ method: 'POST', path: '/token', body, accept: [400] });
  // RFC 6749 answers 400 to an invalid grant, which is a failure to sign in.
  if (answer.status === 400) {
    throw new CrmError('auth', 'The grant is invalid.', { retryable: false, code: 'invalid_grant' });
  }
  return answer.body;
}

function noToken(): CrmError {
  return new CrmError('auth', 'There is no token to sign in with.', { retryable: false });
}

function bearer(token: string): { authorization: string } {
  return { authorization: `Bearer ${token}` };
}

/** Loop answers 200 to every request, including failed ones. */
function loopError(body: unknown): number | undefined {
  const { statusCode, errorCode } = (body ?? {}) as { statusCode?: unknown; errorCode?: unknown };
  return statusCode === 'error' ? Number(errorCode ?? 500) : undefined;
}
