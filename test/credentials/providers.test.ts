import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import {
  type Credentials,
  type CredentialsByProvider,
  checkCredentials,
} from '../../src/credentials/index.js';
import { type CrmSchemaError, type Provider, providers } from '../../src/index.js';
import { sampleCredentials } from '../support/credentials.js';

/** Undefined if it is accepted. */
function refusal(provider: Provider, value: unknown): CrmSchemaError | undefined {
  try {
    checkCredentials(provider, value);
    return undefined;
  } catch (error) {
    return error as CrmSchemaError;
  }
}

describe('checkCredentials accepts', () => {
  const accepted: [Provider, string, object][] = [
    ...providers.map((provider): [Provider, string, object] => [
      provider,
      'the sample',
      sampleCredentials[provider],
    ]),
    ['agentos', 'a branch', { apiKey: 'k', shortName: 'test-agency', branchOid: 'hK3vQ0' }],
    ['reapit', 'client credentials', { grant: 'client_credentials', customer: 'SBOX' }],
    [
      'reapit',
      'client credentials of the agency’s own',
      {
        grant: 'client_credentials',
        customer: 'SBOX',
        client: { id: 'id', secret: 'pass phrase' },
        apiVersion: '2020-01-31',
        accessToken: 'a.b.c',
      },
    ],
    ['reapit', 'an authorisation code’s refresh token', { grant: 'authorization_code', refreshToken: 'r' }],
    ['alto', 'an upper-case GUID', { agencyRef: 'AB000000-0000-0000-0000-00000000000F' }],
    ['street', 'no sandbox', { token: 't' }],
    ['loop', 'unknown fields', { apiKey: 'k', anything: [null, { at: 1.5 }, 'all'] }],
    [
      'custom',
      'a bearer token and unknown fields',
      { scheme: 'bearer', baseUrl: 'https://crm.example.com', token: 't', tenant: 'x' },
    ],
    ['custom', 'loopback', { scheme: 'bearer', baseUrl: 'http://127.0.0.1:8080/', token: 't' }],
  ];

  test.each(accepted)('%s: %s', (provider, _, value) => {
    expect(checkCredentials(provider, value)).toEqual(value);
  });
});

describe('checkCredentials refuses', () => {
  const refused: [Provider, string, unknown, string][] = [
    ['agentos', 'null', null, 'credentials have to be an object.'],
    ['agentos', 'an array', [], 'credentials have to be an object.'],
    [
      'agentos',
      'a missing field',
      { apiKey: 'k' },
      'credentials.shortName of agentos has to be one segment of a URL path.',
    ],
    [
      'agentos',
      'a path for a segment',
      { apiKey: 'k', shortName: '../other' },
      'credentials.shortName of agentos has to be one segment of a URL path.',
    ],
    [
      'agentos',
      'a pasted line break',
      { apiKey: 'secret\n', shortName: 'a' },
      'credentials.apiKey of agentos has to be printable ASCII without white space around it.',
    ],
    [
      'agentos',
      'a field that is not known, unnamed',
      { apiKey: 'k', shortName: 'a', secret_slipped_here: 1 },
      'credentials of agentos have a field that does not belong there; these do: apiKey, shortName, branchOid.',
    ],
    [
      'reapit',
      'no grant',
      { customer: 'SBOX' },
      'credentials.grant of reapit has to be client_credentials or authorization_code.',
    ],
    [
      'reapit',
      'a grant it does not have',
      { grant: 'password', customer: 'SBOX' },
      'credentials.grant of reapit has to be client_credentials or authorization_code.',
    ],
    [
      'reapit',
      'one grant’s fields under the other',
      { grant: 'client_credentials', refreshToken: 'r' },
      'credentials.customer of reapit has to be printable ASCII without white space.',
    ],
    [
      'reapit',
      'a client without its secret',
      { grant: 'client_credentials', customer: 'SBOX', client: { id: 'i' } },
      'credentials.client.secret of reapit has to be printable ASCII without white space around it.',
    ],
    [
      'reapit',
      'a client with more',
      { grant: 'client_credentials', customer: 'SBOX', client: { id: 'i', secret: 's', secret_slip: 1 } },
      'credentials.client of reapit has to be an object with id and secret, and nothing else.',
    ],
    [
      'alto',
      'a reference that is no GUID',
      { agencyRef: '7' },
      'credentials.agencyRef of alto has to be a GUID.',
    ],
    [
      'street',
      'text for a flag',
      { token: 't', sandbox: 'yes' },
      'credentials.sandbox of street has to be true or false.',
    ],
    [
      'loop',
      'what JSON cannot hold',
      { apiKey: 'k', secret_slip: () => 1 },
      'credentials of loop have a field whose value is not JSON.',
    ],
    [
      'custom',
      'an unencrypted connection',
      { scheme: 'bearer', baseUrl: 'http://crm.example.com', token: 't' },
      'credentials.baseUrl of custom has to be an https URL without user, password, query and fragment.',
    ],
    [
      'custom',
      'a password in the URL',
      { scheme: 'bearer', baseUrl: 'https://u:secret@crm.example.com', token: 't' },
      'credentials.baseUrl of custom has to be an https URL without user, password, query and fragment.',
    ],
    [
      'custom',
      'a header that is none',
      { scheme: 'api_key', baseUrl: 'https://crm.example.com', header: 'x: y', apiKey: 'k' },
      'credentials.header of custom has to be the name of an HTTP header.',
    ],
    [
      'custom',
      'no scheme',
      { baseUrl: 'https://crm.example.com', token: 't' },
      'credentials.scheme of custom has to be bearer or api_key.',
    ],
  ];

  test.each(refused)('%s: %s', (provider, _, value, message) => {
    expect(refusal(provider, value)).toMatchObject({
      name: 'CrmSchemaError',
      code: 'invalid_credentials',
      message,
    });
  });

  test('a provider that there is not', () => {
    expect(refusal('rightmove' as Provider, {})).toMatchObject({ code: 'unknown_provider' });
  });

  test('wrong values of every kind, in words that never hold them', () => {
    const secret = fc.stringMatching(/^[a-z0-9]{16,24}$/).map((text) => `zq${text}`);
    const fields = ['apiKey', 'shortName', 'grant', 'customer', 'client', 'refreshToken', 'accessToken'];
    const more = ['agencyRef', 'token', 'sandbox', 'scheme', 'baseUrl', 'header', 'branchOid', 'apiVersion'];
    let refusals = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...providers),
        secret,
        fc.constantFrom<(text: string) => unknown>(
          (text) => `${text}\n`,
          (text) => ` ${text}`,
          (text) => `${text}\u0000`,
          (text) => [text],
          (text) => ({ [text]: text }),
          (text) => ({ id: text }),
          (text) => `https://user:${text}@crm.example.com`,
          (text) => Buffer.from(text),
          (text) => new Map([[text, text]]),
        ),
        fc.array(fc.constantFrom(...fields, ...more), { minLength: 1 }),
        fc.boolean(),
        (provider, text, spoil, names, unknownField) => {
          const value = Object.fromEntries(names.map((name) => [name, spoil(text)]));
          const error = refusal(provider, { ...value, ...(unknownField ? { [text]: text } : {}) });
          if (error === undefined) return;
          refusals += 1;
          expect(error.code).toBe('invalid_credentials');
          expect(`${error.message} ${error.stack} ${inspect(error)}`).not.toContain(text);
        },
      ),
      { numRuns: 2000 },
    );
    expect(refusals).toBeGreaterThan(1500);
  });
});

test('credentials have a precise type by provider', () => {
  expectTypeOf<keyof CredentialsByProvider>().toEqualTypeOf<Provider>();
  expectTypeOf<Credentials<'street'>>().toEqualTypeOf<{ token: string; sandbox?: boolean | undefined }>();
  expectTypeOf<Credentials<'reapit'>['grant']>().toEqualTypeOf<'client_credentials' | 'authorization_code'>();
  expectTypeOf<
    Extract<Credentials<'reapit'>, { grant: 'authorization_code' }>['refreshToken']
  >().toBeString();
  expectTypeOf<Credentials<'loop'>['apiKey']>().toBeString();
  expectTypeOf<Credentials<'loop'>>().toHaveProperty('anything');
  // @ts-expect-error an access token alone says not which agency
  const _alto: Credentials<'alto'> = { accessToken: 'a' };
  // @ts-expect-error the refresh token belongs to the other grant
  const _reapit: Credentials<'reapit'> = { grant: 'client_credentials', customer: 'SBOX', refreshToken: 'r' };
});
