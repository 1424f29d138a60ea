import type { Provider } from '@nurturehub/crm-schema';
import type { Credentials } from '@nurturehub/crm-schema/credentials';
import { type Random, randomText, randomUuid } from './random.js';

/** The keys and tokens that a simulated CRM accepts. */
export class Keys {
  readonly #random: Random;
  readonly #keys = new Set<string>();
  readonly #refreshTokens = new Set<string>();
  /** When each token expires, in milliseconds since 1970. */
  readonly #accessTokens = new Map<string, number>();

  /** The name of the account. */
  readonly account: string;

  /** @param account defaults to one for each seed (Alto) or kind of CRM */
  constructor(random: Random, provider: Provider, account?: string) {
    this.#random = random;
    const name = provider === 'alto' ? randomUuid(random) : provider === 'reapit' ? 'SBOX' : 'test-agency';
    this.account = account ?? name;
  }

  /** Makes new credentials, as if a user had signed in; earlier ones remain valid. */
  signIn<P extends Provider>(provider: P, url: string): Credentials<P> {
    return this.#signIn(provider, url) as Credentials<P>;
  }

  #signIn(provider: Provider, url: string): Credentials {
    switch (provider) {
      case 'agentos':
        return { apiKey: this.#key(), shortName: this.account };
      case 'reapit':
        return { grant: 'authorization_code', refreshToken: this.#newRefreshToken(), customer: this.account };
      case 'alto':
        return {
          agencyRef: this.account,
          client: { id: 'test-client', secret: this.#key() },
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

  hasAccessToken(token: string | undefined): boolean {
    return (this.#accessTokens.get(token ?? '') ?? 0) > Date.now();
  }

  newAccessToken(lifeMilliseconds: number): string {
    const token = `access-${randomText(this.#random, 24)}`;
    this.#accessTokens.set(token, Date.now() + lifeMilliseconds);
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

  #key(): string {
    const key = `key-${randomText(this.#random, 24)}`;
    this.#keys.add(key);
    return key;
  }
}
