import { inspect } from 'node:util';
import fc from 'fast-check';
import type { InferOutput } from 'valibot';
import { describe, expect, expectTypeOf, test } from 'vitest';
import type { schemas } from '../../src/credentials/credential-schemas.js';
import { type Credentials, type CredentialsByProvider, checkCredentials } from '../../src/credentials.js';
import { type CrmSchemaError, type Provider, providers } from '../../src/index.js';
import { sampleCredentials } from '../support/credentials.js';

/** The error that checkCredentials throws; undefined if it accepts the value. */
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
      'the agency’s own client credentials',
      {
        grant: 'client_credentials',
        customer: 'SBOX',
        client: { id: 'id', secret: 'pass phrase' },
        apiVersion: '2020-01-31',
        accessToken: 'a.b.c',
      },
    ],
    [
      'reapit',
      'the refresh token of an authorisation code grant',
      { grant: 'authorization_code', refreshToken: 'r' },
    ],
    ['alto', 'an upper-case GUID', { agencyRef: 'AB000000-0000-0000-0000-00000000000F' }],
    ['street', 'no sandbox', { token: 't' }],
    ['loop', 'unknown fields', { apiKey: 'k', anything: [null, { at: 1.5 }, 'all'] }],
    [
      'loop',
      'unknown fields named like those of every object',
      { apiKey: 'k', constructor: 'x', prototype: 1 },
    ],
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
    ['agentos', 'null', null, 'credentials must be an object.'],
    ['agentos', 'an array', [], 'credentials must be an object.'],
    ['agentos', 'a missing field', { apiKey: 'k' }, 'credentials.shortName is missing (agentos).'],
    [
      'agentos',
      'a path instead of a segment',
      { apiKey: 'k', shortName: '../other' },
      'credentials.shortName must be one segment of a URL path (agentos).',
    ],
    [
      'agentos',
      'a pasted line break',
      { apiKey: 'secret\n', shortName: 'a' },
      'credentials.apiKey must be printable ASCII without white space around it (agentos).',
    ],
    [
      'agentos',
      'an unknown field, without naming it',
      { apiKey: 'k', shortName: 'a', secret_slipped_here: 1 },
      'credentials has an unknown field; known fields: apiKey, shortName, branchOid (agentos).',
    ],
    [
      'reapit',
      'no grant',
      { customer: 'SBOX' },
      'credentials.grant must be client_credentials or authorization_code (reapit).',
    ],
    [
      'reapit',
      'an unknown grant',
      { grant: 'password', customer: 'SBOX' },
      'credentials.grant must be client_credentials or authorization_code (reapit).',
    ],
    [
      'reapit',
      'the fields of the other grant',
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
      'an unknown field of the client',
      { grant: 'client_credentials', customer: 'SBOX', client: { id: 'i', secret: 's', secret_slip: 1 } },
      'credentials.client has an unknown field; known fields: id, secret (reapit).',
    ],
    [
      'alto',
      'an agencyRef that is not a GUID',
      { agencyRef: '7' },
      'credentials.agencyRef must be a GUID (alto).',
    ],
    [
      'street',
      'text instead of a boolean',
      { token: 't', sandbox: 'yes' },
      'credentials.sandbox must be true or false (street).',
    ],
    [
      'loop',
      'a value that JSON cannot hold',
      { apiKey: 'k', secret_slip: () => 1 },
      'credentials contains a value that JSON cannot hold, a field named __proto__ or toJSON, or more than 32 levels (loop).',
    ],
    [
      'custom',
      'an http URL',
      { scheme: 'bearer', baseUrl: 'http://crm.example.com', token: 't' },
      'credentials.baseUrl must be an https URL without user, password, query and fragment (custom).',
    ],
    [
      'custom',
      'a password in the URL',
      { scheme: 'bearer', baseUrl: 'https://u:secret@crm.example.com', token: 't' },
      'credentials.baseUrl must be an https URL without user, password, query and fragment (custom).',
    ],
    [
      'custom',
      'an invalid header name',
      { scheme: 'api_key', baseUrl: 'https://crm.example.com', header: 'x: y', apiKey: 'k' },
      'credentials.header must be the name of an HTTP header (custom).',
    ],
    [
      'agentos',
      'an unknown field named like a property of every object',
      { apiKey: 'k', shortName: 'a', constructor: 'secret_slipped_here' },
      'credentials has an unknown field; known fields: apiKey, shortName, branchOid (agentos).',
    ],
    [
      'agentos',
      'several invalid fields, naming all of them',
      { apiKey: 5, branchOid: null },
      'credentials.apiKey must be printable ASCII without white space around it; credentials.shortName is missing; credentials.branchOid must be printable ASCII without white space (agentos).',
    ],
    [
      'agentos',
      'a segment that leads to another path',
      { apiKey: 'k', shortName: '..' },
      'credentials.shortName must be one segment of a URL path (agentos).',
    ],
    [
      'reapit',
      'a field of the other grant, and lists the fields of this one',
      { grant: 'client_credentials', customer: 'SBOX', refreshToken: 'r' },
      'credentials has an unknown field; known fields: grant, customer, client, accessToken, apiVersion (reapit).',
    ],
    [
      'custom',
      'white space that URL would remove',
      { scheme: 'bearer', baseUrl: 'https://crm.exa\nmple.com', token: 't' },
      'credentials.baseUrl must be an https URL without user, password, query and fragment (custom).',
    ],
    [
      'custom',
      'a header that decides where a request goes',
      { scheme: 'api_key', baseUrl: 'https://crm.example.com', header: 'Host', apiKey: 'k' },
      'credentials.header must be a header that can carry a key (custom).',
    ],
    [
      'custom',
      'no scheme',
      { baseUrl: 'https://crm.example.com', token: 't' },
      'credentials.scheme must be bearer or api_key (custom).',
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
    ['a name that would override what hides credentials', { apiKey: 'k', toJSON: 'x' }],
    ['the same name in a nested value', { apiKey: 'k', other: [{ toJSON: 'x' }] }],
    ['a name that a copy would lose', JSON.parse('{"apiKey": "k", "other": {"__proto__": {"a": 1}}}')],
    ['a cycle', cyclic],
    ['more levels than recursion can handle', { apiKey: 'k', other: nested(100_000) }],
    ['33 levels', { apiKey: 'k', other: nested(32) }],
    ['a number that JSON cannot hold', { apiKey: 'k', other: Number.NaN }],
    ['a Date', { apiKey: 'k', other: new Date() }],
    ['a Map', { apiKey: 'k', other: new Map([['secret_slip', 1]]) }],
  ])('a value that JSON would change: %s', (_, value) => {
    const error = refusal('loop', value);
    expect(error).toMatchObject({ name: 'CrmSchemaError', code: 'invalid_credentials' });
    expect(inspect(error)).not.toContain('secret_slip');
    expect(refusal('loop', { apiKey: 'k', other: nested(31) })).toBeUndefined();
  });

  test('an unknown provider', () => {
    expect(refusal('rightmove' as Provider, {})).toMatchObject({ code: 'unknown_provider' });
  });

  test('invalid values of every kind, without repeating them', () => {
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

test('the schemas check exactly what the types declare', () => {
  type Checked = { [P in Provider]: InferOutput<(typeof schemas)[P]> };
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
  // @ts-expect-error an access token alone does not name the agency
  const _alto: Credentials<'alto'> = { accessToken: 'a' };
  // @ts-expect-error the refresh token belongs to the other grant
  const _reapit: Credentials<'reapit'> = { grant: 'client_credentials', customer: 'SBOX', refreshToken: 'r' };
});
