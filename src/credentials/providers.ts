import { z } from 'zod';
import { CrmSchemaError } from '../errors.js';
import type { Json, Provider } from '../types.js';
import { checkProvider } from '../validation.js';
import type { CredentialsByProvider } from './credential-types.js';
import { isStorableJson } from './json.js';

/**
 * What each CRM wants to be signed in with, as `credential-types.ts` says it. Facts from the vendors'
 * documentation; where a vendor publishes nothing, fields we do not know are let through.
 *
 * Each value has its own message, which says what it has to be: nothing that was given is repeated.
 */

/** A value that goes into an HTTP header: RFC 6749's VSCHAR. White space at the ends came in by pasting. */
const token = text(
  /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/,
  'printable ASCII without white space around it',
);
/** A value that goes into a URL's path, or a header that identifies. */
const name = text(/^[\x21-\x7e]+$/, 'printable ASCII without white space');

function text(pattern: RegExp, what: string) {
  const error = message(`has to be ${what}`);
  return z.string({ error }).regex(pattern, { error });
}

/** What is said of a value that is not right, or not there. */
function message(problem: string): (issue: { input?: unknown }) => string {
  return ({ input }) => (input === undefined ? 'is missing' : problem);
}

const flag = z.boolean({ error: message('has to be true or false') });

/** An OAuth client. */
const client = z.object(
  { id: token, secret: token },
  { error: message('has to be an object with id and secret') },
);

const agentos = z.object({
  apiKey: token,
  shortName: text(/^(?!\.{1,2}$)[\w.~-]+$/, 'one segment of a URL path'),
  branchOid: name.optional(),
});

const reapitCommon = {
  client: client.optional(),
  accessToken: token.optional(),
  apiVersion: name.optional(),
};

const reapit = z.discriminatedUnion(
  'grant',
  [
    z.object({
      grant: z.literal('client_credentials'),
      customer: name,
      ...reapitCommon,
    }),
    z.object({
      grant: z.literal('authorization_code'),
      refreshToken: token,
      customer: name.optional(),
      ...reapitCommon,
    }),
  ],
  { error: 'has to be client_credentials or authorization_code' },
);

const alto = z.object({
  agencyRef: z.guid({ error: message('has to be a GUID') }),
  client: client.optional(),
  accessToken: token.optional(),
});

const street = z.object({
  token,
  sandbox: flag.optional(),
});

/** Fields that we do not know; `checkCredentials` has seen to it that they are JSON. */
const json = z.custom<Json>();

const loop = z.object({ apiKey: token }).catchall(json);

const baseUrlError = message('has to be an https URL without user, password, query and fragment');
const baseUrl = z.string({ error: baseUrlError }).refine(isSafeUrl, { error: baseUrlError });

/** Headers that say where a request goes and where it ends. */
const framing = /^(?:host|connection|content-length|transfer-encoding|upgrade|te|trailer|cookie)$/i;
const headerName = text(/^[a-z0-9][\w!#$%&'*+.^`|~-]{0,99}$/i, 'the name of an HTTP header').refine(
  (value) => !framing.test(value),
  { error: 'has to be a header that may carry a key' },
);

const custom = z.discriminatedUnion(
  'scheme',
  [
    z.object({ scheme: z.literal('bearer'), baseUrl, token }).catchall(json),
    z.object({ scheme: z.literal('api_key'), baseUrl, header: headerName, apiKey: token }).catchall(json),
  ],
  { error: 'has to be bearer or api_key' },
);

/** Credentials travel in the clear over http, which only a machine's own loopback can excuse. */
function isSafeUrl(value: string): boolean {
  // URL would take off or pass over white space, backslashes, and a ? or # with nothing behind it.
  if (!/^https?:\/\/[^\s\\?#@]+$/i.test(value) || !URL.canParse(value)) return false;
  const { protocol, hostname } = new URL(value);
  const isLoopback = hostname === 'localhost' || hostname === '127.0.0.1' || hostname === '[::1]';
  return protocol === 'https:' || isLoopback;
}

/** What is checked; a test holds it against the types, field by field. */
export const schemas = { agentos, reapit, alto, street, loop, custom } satisfies {
  [P in Provider]: z.ZodType<CredentialsByProvider[P]>;
};

/** The credentials of a CRM, decrypted; without a type argument, those of any. */
export type Credentials<P extends Provider = Provider> = CredentialsByProvider[P];

/**
 * Credentials in the shape that their provider wants, as a plain copy.
 *
 * @throws CrmSchemaError `invalid_credentials`, naming the field and never its value; `unknown_provider`
 */
export function checkCredentials<P extends Provider>(provider: P, value: unknown): Credentials<P> {
  checkProvider({ field: 'provider' }, provider);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CrmSchemaError('invalid_credentials', 'credentials have to be an object.');
  }
  const copy = copied(value);
  if (!isStorableJson(copy)) {
    throw new CrmSchemaError(
      'invalid_credentials',
      `credentials of ${provider} hold what JSON cannot, a field called __proto__ or toJSON, or more than 32 levels.`,
    );
  }
  const { data, error } = schemas[provider].safeParse(copy);
  if (error !== undefined) throw new CrmSchemaError('invalid_credentials', complaint(provider, error));
  refuseUnknown(provider, copy as object, data);
  return data as Credentials<P>;
}

/**
 * What can be kept of credentials that cannot be got again: without fields that do not belong there, without
 * optional ones that are wrong, and without white space around a token.
 *
 * @throws CrmSchemaError `invalid_credentials` if what is left is not enough
 */
export function salvageCredentials<P extends Provider>(provider: P, value: unknown): Credentials<P> {
  const kept = new Map<string, unknown>();
  for (const [name, inner] of Object.entries(value ?? {})) {
    const part = typeof inner === 'string' ? inner.trim() : copied(inner);
    if (isStorableJson({ [name]: part })) kept.set(name, part);
  }
  const first = schemas[provider].safeParse(Object.fromEntries(kept));
  for (const { path } of first.error?.issues ?? []) kept.delete(String(path[0]));
  const { data, error } = schemas[provider].safeParse(Object.fromEntries(kept));
  if (error !== undefined) throw new CrmSchemaError('invalid_credentials', complaint(provider, error));
  return data as Credentials<P>;
}

/** A copy that nobody else changes; what cannot be copied is not JSON. */
function copied(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return undefined;
  }
}

/** Everything that is wrong. Only names that are known are repeated: a secret may have slipped into others. */
function complaint(provider: Provider, { issues }: z.ZodError): string {
  const problems = issues.map(({ path, message: problem }) => `credentials.${path.join('.')} ${problem}`);
  return `${problems.join('; ')} (${provider}).`;
}

/** What the schema left out does not belong there. Unnamed, because a secret may have slipped into the name. */
function refuseUnknown(provider: Provider, given: object, known: object, place = 'credentials'): void {
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const found = Object.hasOwn(known, name) ? (known as Record<string, object>)[name] : undefined;
    if (found === undefined) {
      const names = place === 'credentials' ? fields(provider, known) : Object.keys(client.shape);
      throw new CrmSchemaError(
        'invalid_credentials',
        `${place} of ${provider}: a field does not belong there; these do: ${names.join(', ')}.`,
      );
    }
    if (typeof found === 'object' && found !== value) {
      refuseUnknown(provider, value as object, found, `${place}.${name}`);
    }
  }
}

/** The names of the fields that such credentials may have. */
function fields(provider: Provider, known: object): string[] {
  const schema = schemas[provider];
  const shapes = 'options' in schema ? schema.options.map(({ shape }) => shape) : [schema.shape];
  const fitting = shapes.find((shape) => Object.keys(known).every((name) => name in shape));
  return Object.keys(fitting ?? {});
}
