import type { Connection } from '../connections/connections.js';
import type { Provider } from '../types.js';
import { checkDate, checkOptions, checkParameter, checkProvider } from '../validation.js';

/** How long a CRM's access tokens live, in seconds, where the CRM documents it. */
const documentedLife: Readonly<Partial<Record<Provider, number>>> = { reapit: 3600 };

/**
 * When an access token expires, from the `expires_in` of a token answer (RFC 6749, section 5.1): seconds, as a
 * number or as text.
 *
 * If `expires_in` is absent, null, 0, negative or not a number, the answer does not say. Then the token is taken to
 * live as long as the CRM documents: 3,600 seconds at Reapit. The other CRMs document none, so the
 * expiry is unknown: null.
 *
 * @param provider the CRM
 * @param expiresIn what the answer has in `expires_in`, of whatever type
 * @param issuedAt when the token was requested; defaults to now
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 */
export function tokenExpiresAt(provider: Provider, expiresIn: unknown, issuedAt = new Date()): Date | null {
  checkProvider({ field: 'provider' }, provider);
  checkDate('issuedAt', issuedAt);
  const told = typeof expiresIn === 'string' && expiresIn.trim() !== '' ? Number(expiresIn) : expiresIn;
  const isTold = typeof told === 'number' && Number.isFinite(told) && told > 0;
  const seconds = isTold ? told : documentedLife[provider];
  if (seconds === undefined) return null;
  const expiresAt = new Date(issuedAt.getTime() + seconds * 1000);
  // Further ahead than a date can be.
  return Number.isNaN(expiresAt.getTime()) ? null : expiresAt;
}

/** The parameters of {@link tokenHasExpired}. */
export interface TokenHasExpiredParams {
  /**
   * How long before its expiry a token counts as expired, in seconds, so that it lasts for the next requests;
   * defaults to 60. Must be less than the life of the CRM's tokens, or each sign-in refreshes.
   */
  marginSeconds?: number | undefined;
  /** Defaults to now. */
  now?: Date | undefined;
}

/**
 * Whether the access token in stored credentials has expired, or is about to. An unknown expiry is not expired: use
 * the token until the CRM refuses it, and then refresh it. Otherwise, each sign-in would use up a refresh token.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export function tokenHasExpired(
  credentials: Pick<Connection, 'credentialsExpiresAt'>,
  options: TokenHasExpiredParams = {},
): boolean {
  checkParameter('credentials', credentials);
  checkOptions(options);
  const { credentialsExpiresAt } = credentials;
  const { marginSeconds = 60, now = new Date() } = options;
  checkDate('now', now);
  return (
    credentialsExpiresAt !== null && Date.parse(credentialsExpiresAt) <= now.getTime() + marginSeconds * 1000
  );
}
