// Signs in to Reapit with the stored credentials of a connection, by either grant, and stores new tokens. Any number of
// workers may do so at the same time, although a refresh token works only once.
import type { ConnectionKey, Queryable } from '@nurturehub/crm-schema';
import {
  credentialsGet,
  credentialsRefresh,
  type KeyRing,
  type NewCredentials,
  type OAuthClient,
  type RefreshRefusal,
  type StoredCredentials,
  tokenExpiresAt,
  tokenHasExpired,
} from '@nurturehub/crm-schema/credentials';
import { CrmError } from '../crm.js';
import { type Send, sender, withHeaders } from './http.js';

/** Our app at Reapit. */
export interface ReapitApp {
  /** The token endpoint (RFC 6749, section 3.2): https://connect.reapit.cloud/token */
  tokenUrl: string;
  /** Used unless the credentials have a client of the agency's own. */
  client: OAuthClient;
  /** How long the token endpoint may take to answer; defaults to 10,000. */
  timeoutMilliseconds?: number | undefined;
}

export interface SignInSettings {
  /** A pool, because a new token must not be lost in a transaction that is rolled back. */
  pool: Queryable;
  keys: KeyRing;
  app: ReapitApp;
  /** How long to wait for another worker's token, in milliseconds: `patience` of `credentialsRefresh`. */
  patience?: number | undefined;
}

type Stored = StoredCredentials<'reapit'>;
type ReapitConnection = ConnectionKey & { provider: 'reapit' };

/** The credentials of a connection, with an access token that Reapit has not refused. */
export class ReapitSession {
  readonly #settings: SignInSettings;
  readonly #connection: ReapitConnection;
  #stored: Stored;
  #renewing: Promise<Stored> | undefined;

  private constructor(settings: SignInSettings, connection: ReapitConnection, stored: Stored) {
    this.#settings = settings;
    this.#connection = connection;
    this.#stored = stored;
  }

  /**
   * Signs in. Uses the stored token until it has expired: a new one costs a refresh token.
   *
   * @throws CrmError of kind `auth`, with the version of the credentials, if the agency must connect again
   * @throws CrmSchemaError `credentials_refused` if Reapit refuses the app: the connection is in error already
   */
  static async open(
    settings: SignInSettings,
    { organisationId, connectionId }: ConnectionKey,
  ): Promise<ReapitSession> {
    const connection = { organisationId, connectionId, provider: 'reapit' } as const;
    const stored = await credentialsGet(settings.pool, settings.keys, connection);
    if (stored === null) {
      throw new CrmError('auth', 'The connection is not live, or not to Reapit.', { retryable: false });
    }
    const session = new ReapitSession(settings, connection, stored);
    if (stored.credentials.accessToken === undefined || tokenHasExpired(stored)) await session.#renew(stored);
    return session;
  }

  get stored(): Stored {
    return this.#stored;
  }

  /**
   * Sends requests with the access token. If Reapit refuses it with 401, repeats the request once, with a new token or
   * with the one that another worker has stored. A refusal of that one names its version, so that the worker's report
   * is about it and not about the one that it began with.
   */
  signing(send: Send): Send {
    return async (request) => {
      const used = this.#stored;
      try {
        return await withHeaders(send, headersOf(used))(request);
      } catch (error) {
        if (!isRefusedToken(error)) throw error;
      }
      const renewed = await this.#renew(used);
      return withHeaders(
        send,
        headersOf(renewed),
      )(request).catch((error) => {
        throw isRefusedToken(error) ? refusedToken(renewed, error.message, error.code) : error;
      });
    };
  }

  /** New credentials in place of those that were refused or have expired; once for all requests that ask meanwhile. */
  async #renew(used: Stored): Promise<Stored> {
    this.#renewing ??= this.#refresh(used).finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #refresh({ credentialsVersion }: Stored): Promise<Stored> {
    const { pool, keys, app, patience } = this.#settings;
    this.#stored = await credentialsRefresh(pool, keys, {
      ...this.#connection,
      credentialsVersion,
      patience,
      refresh: (current) => newReapitCredentials(app, current),
    });
    if (this.#stored.credentials.accessToken !== undefined) return this.#stored;
    throw new CrmError('provider', 'The token endpoint answered without a token.', { retryable: true });
  }
}

/**
 * The errors of RFC 6749, section 5.2, that no other worker can have caused. `invalid_grant` is not one: a refresh
 * token that another worker has just used gets the same answer as one that was revoked.
 */
const finalErrors = ['invalid_client', 'unauthorized_client', 'unsupported_grant_type'];

/** Asks the token endpoint for new credentials: the `refresh` of `credentialsRefresh`. */
export async function newReapitCredentials(
  { tokenUrl, client, timeoutMilliseconds = 10_000 }: ReapitApp,
  current: Pick<Stored, 'credentials' | 'credentialsVersion'>,
): Promise<NewCredentials<'reapit'> | RefreshRefusal> {
  const { credentials } = current;
  const { id, secret } = credentials.client ?? client;
  const form = new URLSearchParams({ grant_type: 'client_credentials', client_id: id });
  if (credentials.grant === 'authorization_code') {
    form.set('grant_type', 'refresh_token');
    form.set('refresh_token', credentials.refreshToken);
  }
  const { status, body } = await sender({ url: tokenUrl, timeoutMilliseconds })({
    method: 'POST',
    path: '',
    headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` },
    body: form,
    accept: [400, 401],
  });
  const { error, access_token: accessToken, refresh_token: refreshToken, expires_in } = body ?? {};
  if (finalErrors.includes(error)) return { refused: `Reapit says ${error}: check the app.` };
  if (error === 'invalid_grant') {
    const problem = 'Reapit requires the agency to consent again. Reconnect it.';
    throw refusedToken(current, problem, error);
  }
  // Whatever of the answer is usable is stored: a refresh token that was sent exists nowhere else.
  if (typeof accessToken !== 'string' && typeof refreshToken !== 'string') {
    const problem = `The token endpoint answered ${status} without a token.`;
    throw new CrmError('provider', problem, { retryable: true });
  }
  return {
    credentials: {
      ...credentials,
      accessToken,
      ...(typeof refreshToken === 'string' && credentials.grant === 'authorization_code'
        ? { refreshToken }
        : {}),
    },
    credentialsExpiresAt: tokenExpiresAt('reapit', expires_in),
  };
}

function headersOf({ credentials }: Stored): Record<string, string> {
  const { accessToken, apiVersion = '2020-01-31', customer } = credentials;
  return {
    authorization: `Bearer ${accessToken}`,
    'api-version': apiVersion,
    // The token of a user names the customer itself.
    ...(customer === undefined ? {} : { 'reapit-customer': customer }),
  };
}

function isRefusedToken(error: unknown): error is CrmError {
  return error instanceof CrmError && error.kind === 'auth';
}

function refusedToken(
  { credentialsVersion }: Pick<Stored, 'credentialsVersion'>,
  message: string,
  code?: string,
) {
  return new CrmError('auth', message, { retryable: false, code, credentialsVersion });
}
