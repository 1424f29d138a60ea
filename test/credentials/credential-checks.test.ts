import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import type { z } from 'zod';
import type { schemas } from '../../src/credentials/credential-schemas.js';
import { type Credentials, type CredentialsByProvider, checkCredentials } from '../../src/credentials.js';
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
    ['agentos', 'a missing field', { apiKey: 'k' }, 'credentials.shortName is missing (agentos).'],
    [
      'agentos',
      'a path for a segment',
      { apiKey: 'k', shortName: '../other' },
      'credentials.shortName has to be one segment of a URL path (agentos).',
    ],
    [
      'agentos',
      'a pasted line break',
      { apiKey: 'secret\n', shortName: 'a' },
      'credentials.apiKey has to be printable ASCII without white space around it (agentos).',
    ],
    [
      'agentos',
      'a field that is not known, unnamed',
      { apiKey: 'k', shortName: 'a', secret_slipped_here: 1 },
      'credentials of agentos: a field does not belong there; these do: apiKey, shortName, branchOid.',
    ],
    [
      'reapit',
      'no grant',
      { customer: 'SBOX' },
      'credentials.grant has to be client_credentials or authorization_code (reapit).',
    ],
    [
      'reapit',
      'a grant it does not have',
      { grant: 'password', customer: 'SBOX' },
      'credentials.grant has to be client_credentials or authorization_code (reapit).',
    ],
    [
      'reapit',
      'one grant’s fields under the other',
      { grant: 'client_credentials', refreshToken: 'r' },
      'credentials.customer is missing (reapit).',
    ],
    [
      'reapit',
      'a client without its secret',
      { grant: 'client_credentials', customer: 'SBOX', client: { id: 'i' } },
      'credentials.client.secret is missing (reapit).',
    ],
    [
      'reapit',
      'a client with more',
      { grant: 'client_credentials', customer: 'SBOX', client: { id: 'i', secret: 's', secret_slip: 1 } },
      'credentials.client of reapit: a field does not belong there; these do: id, secret.',
    ],
    [
      'alto',
      'a reference that is no GUID',
      { agencyRef: '7' },
      'credentials.agencyRef has to be a GUID (alto).',
    ],
    [
      'street',
      'text for a flag',
      { token: 't', sandbox: 'yes' },
      'credentials.sandbox has to be true or false (street).',
    ],
    [
      'loop',
      'what JSON cannot hold',
      { apiKey: 'k', secret_slip: () => 1 },
      'credentials of loop hold what JSON cannot, a field called __proto__ or toJSON, or more than 32 levels.',
    ],
    [
      'custom',
      'an unencrypted connection',
      { scheme: 'bearer', baseUrl: 'http://crm.example.com', token: 't' },
      'credentials.baseUrl has to be an https URL without user, password, query and fragment (custom).',
    ],
    [
      'custom',
      'a password in the URL',
      { scheme: 'bearer', baseUrl: 'https://u:secret@crm.example.com', token: 't' },
      'credentials.baseUrl has to be an https URL without user, password, query and fragment (custom).',
    ],
    [
      'custom',
      'a header that is none',
      { scheme: 'api_key', baseUrl: 'https://crm.example.com', header: 'x: y', apiKey: 'k' },
      'credentials.header has to be the name of an HTTP header (custom).',
    ],
    [
      'agentos',
      'a field with a name that every object knows',
      { apiKey: 'k', shortName: 'a', constructor: 'secret_slipped_here' },
      'credentials of agentos: a field does not belong there; these do: apiKey, shortName, branchOid.',
    ],
    [
      'agentos',
      'several wrong fields, all of them named',
      { apiKey: 5, branchOid: null },
      'credentials.apiKey has to be printable ASCII without white space around it; credentials.shortName is missing; credentials.branchOid has to be printable ASCII without white space (agentos).',
    ],
    [
      'agentos',
      'a segment that leads elsewhere',
      { apiKey: 'k', shortName: '..' },
      'credentials.shortName has to be one segment of a URL path (agentos).',
    ],
    [
      'reapit',
      'the other grant’s field, and lists this grant’s',
      { grant: 'client_credentials', customer: 'SBOX', refreshToken: 'r' },
      'credentials of reapit: a field does not belong there; these do: grant, customer, client, accessToken, apiVersion.',
    ],
    [
      'custom',
      'white space that URL would take off',
      { scheme: 'bearer', baseUrl: 'https://crm.exa\nmple.com', token: 't' },
      'credentials.baseUrl has to be an https URL without user, password, query and fragment (custom).',
    ],
    [
      'custom',
      'a header that says where a request goes',
      { scheme: 'api_key', baseUrl: 'https://crm.example.com', header: 'Host', apiKey: 'k' },
      'credentials.header has to be a header that may carry a key (custom).',
    ],
    [
      'custom',
      'no scheme',
      { baseUrl: 'https://crm.example.com', token: 't' },
      'credentials.scheme has to be bearer or api_key (custom).',
    ],
  ];

  test.each(refused)('%s: %s', (provider, _, value, message) => {
    expect(refusal(provider, value)).toMatchObject({
      name: 'CrmSchemaError',
      code: 'invalid_credentials',
      message,
    });
  });

  const nested = (levels: number): unknown => {
    let value: unknown = 1;
    for (let level = 0; level < levels; level += 1) value = [value];
    return value;
  };
  const cyclic: Record<string, unknown> = { apiKey: 'k' };
  cyclic.secret_slip = cyclic;

  test.each<[string, unknown]>([
    ['a name that would switch off what hides them', { apiKey: 'k', toJSON: 'x' }],
    ['the same deep inside', { apiKey: 'k', other: [{ toJSON: 'x' }] }],
    ['a name that a copy would lose', JSON.parse('{"apiKey": "k", "other": {"__proto__": {"a": 1}}}')],
    ['a cycle', cyclic],
    ['more levels than whoever reads them can go down', { apiKey: 'k', other: nested(100_000) }],
    ['33 levels', { apiKey: 'k', other: nested(32) }],
    ['a number that JSON cannot hold', { apiKey: 'k', other: Number.NaN }],
    ['a Date', { apiKey: 'k', other: new Date() }],
    ['a Map', { apiKey: 'k', other: new Map([['secret_slip', 1]]) }],
  ])('what would not come back as it is: %s', (_, value) => {
    const error = refusal('loop', value);
    expect(error).toMatchObject({ name: 'CrmSchemaError', code: 'invalid_credentials' });
    expect(inspect(error)).not.toContain('secret_slip');
    expect(refusal('loop', { apiKey: 'k', other: nested(31) })).toBeUndefined();
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

test('what is checked is exactly what the types say', () => {
  type Checked = { [P in Provider]: z.infer<(typeof schemas)[P]> };
  expectTypeOf<Checked>().branded.toEqualTypeOf<CredentialsByProvider>();
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
