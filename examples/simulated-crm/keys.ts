import type { Provider } from '@nurturehub/crm-schema';
import type { Credentials } from '@nurturehub/crm-schema/credentials';
import { type Random, randomText, randomUuid } from './random.js';

/** The client of our own app at the simulated Reapit, which serves every agency. */
export const reapitApp = { id: 'test-app', secret: 'test-app-secret' };

const testClient = 'test-client';

/** The keys and tokens that a simulated CRM accepts. */
export class Keys {
  readonly #random: Random;
  readonly #keys = new Set<string>();
  readonly #refreshTokens = new Set<string>();
  /** When each token expires, in milliseconds since 1970, and whether it is of a user, whose account it names. */
  readonly #accessTokens = new Map<string, { expiresAt: number; isOfUser: boolean }>();

  /** The number of access tokens that were given out. */
  signIns = 0;

  /** The name of the account, as the package writes it. */
  readonly account: string;

  /** @param account defaults to one for each seed (Alto) or kind of CRM */
  constructor(random: Random, provider: Provider, account?: string) {
    this.#random = random;
    const name = provider === 'alto' ? randomUuid(random) : provider === 'reapit' ? 'SBOX' : 'test-agency';
    this.account = account ?? name;
  }

  /**
   * Makes new credentials, as if a user had signed in; earlier ones remain valid.
   *
   * @param grant of Reapit; defaults to `authorization_code`
   */
  signIn<P extends Provider>(provider: P, url: string, grant?: 'client_credentials'): Credentials<P> {
    return this.#signIn(provider, url, grant) as Credentials<P>;
  }

  #signIn(provider: Provider, url: string, grant?: 'client_credentials'): Credentials {
    switch (provider) {
      case 'agentos':
        return { apiKey: this.#key(), shortName: this.account };
      case 'reapit':
        if (grant !== undefined) return { grant, customer: this.account, client: this.#client() };
        return { grant: 'authorization_code', refreshToken: this.#newRefreshToken(), customer: this.account };
      case 'alto':
        return {
          // As people copy it: upper and lower case mean the same in a GUID.
          agencyRef: this.account.toUpperCase(),
          client: this.#client(),
        };
      case 'street':
        return { token: this.#key(), sandbox: true };
      case 'loop':
        return { apiKey: this.#key() };
      case 'custom':
        return { scheme: 'bearer', baseUrl: url, token: this.#key() };
    }
  }

  /** Revokes all keys and tokens. */
  revoke(): void {
    this.#keys.clear();
    this.#refreshTokens.clear();
    this.#accessTokens.clear();
  }

  /** Ends the life of all access tokens; keys and refresh tokens remain valid. */
  expireAccessTokens(): void {
    this.#accessTokens.clear();
  }

  hasKey(key: string | undefined): boolean {
    return key !== undefined && this.#keys.has(key);
  }

  /** Whether these are an agency's own client, or that of our app. */
  hasClient(id: string | undefined, secret: string | undefined): boolean {
    const isOurs = id === reapitApp.id && secret === reapitApp.secret;
    return isOurs || (id === testClient && this.hasKey(secret));
  }

  hasAccessToken(token: string | undefined): boolean {
    return (this.#accessTokens.get(token ?? '')?.expiresAt ?? 0) > Date.now();
  }

  /** Whether a user has signed in to get this token: it names the account. */
  isOfUser(token: string | undefined): boolean {
    return this.#accessTokens.get(token ?? '')?.isOfUser ?? false;
  }

  newAccessToken(lifeMilliseconds: number, isOfUser = false): string {
    this.signIns += 1;
    const token = `access-${randomText(this.#random, 24)}`;
    this.#accessTokens.set(token, { expiresAt: Date.now() + lifeMilliseconds, isOfUser });
    return token;
  }

  /** Uses up a refresh token and returns its successor; undefined if the token is invalid. */
  useRefreshToken(token: string): string | undefined {
    return this.#refreshTokens.delete(token) ? this.#newRefreshToken() : undefined;
  }

  #newRefreshToken(): string {
    const token = `refresh-${randomText(this.#random, 24)}`;
    this.#refreshTokens.add(token);
    return token;
  }

  #client() {
    return { id: testClient, secret: this.#key() };
  }

  #key(): string {
    const key = `key-${randomText(this.#random, 24)}`;
    this.#keys.add(key);
    return key;
  }
}
