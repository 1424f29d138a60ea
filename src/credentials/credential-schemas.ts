import { z } from 'zod';
import type { Json, Provider } from '../types.js';
import type { CredentialsByProvider } from './credential-types.js';

/**
 * What each CRM needs to sign in, as `credential-types.ts` declares it. The rules come from the vendors'
 * documentation; where a vendor publishes nothing, unknown fields are allowed.
 *
 * Each value has its own message, which states the rule and never repeats the value.
 */

/** A value that goes into an HTTP header: RFC 6749's VSCHAR. White space around it comes from pasting. */
const token = text(
  /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/,
  'printable ASCII without white space around it',
);
/** A value that goes into a URL's path, or into a header that identifies something. */
const name = text(/^[\x21-\x7e]+$/, 'printable ASCII without white space');

function text(pattern: RegExp, what: string) {
  const error = message(`must be ${what}`);
  return z.string({ error }).regex(pattern, { error });
}

/** The message for a value that is invalid or missing. */
function message(problem: string): (issue: { input?: unknown }) => string {
  return ({ input }) => (input === undefined ? 'is missing' : problem);
}

const flag = z.boolean({ error: message('must be true or false') });

/** An OAuth client. */
export const oauthClient = z.object(
  { id: token, secret: token },
  { error: message('must be an object with id and secret') },
);

const agentos = z.object({
  apiKey: token,
  shortName: text(/^(?!\.{1,2}$)[\w.~-]+$/, 'one segment of a URL path'),
  branchOid: name.optional(),
});

const reapitCommon = {
  client: oauthClient.optional(),
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
  { error: 'must be client_credentials or authorization_code' },
);

const alto = z.object({
  agencyRef: z.guid({ error: message('must be a GUID') }),
  client: oauthClient.optional(),
  accessToken: token.optional(),
});

const street = z.object({
  token,
  sandbox: flag.optional(),
});

/** Unknown fields: `checkCredentials` has already checked that they are JSON. */
const json = z.custom<Json>();

const loop = z.object({ apiKey: token }).catchall(json);

const baseUrlError = message('must be an https URL without user, password, query and fragment');
const baseUrl = z.string({ error: baseUrlError }).refine(isSafeUrl, { error: baseUrlError });

/** Headers that decide where a request goes and where it ends, so they cannot carry a key. */
const framingHeaders = /^(?:host|connection|content-length|transfer-encoding|upgrade|te|trailer|cookie)$/i;
const headerName = text(/^[a-z0-9][\w!#$%&'*+.^`|~-]{0,99}$/i, 'the name of an HTTP header').refine(
  (value) => !framingHeaders.test(value),
  { error: 'must be a header that can carry a key' },
);

const custom = z.discriminatedUnion(
  'scheme',
  [
    z.object({ scheme: z.literal('bearer'), baseUrl, token }).catchall(json),
    z.object({ scheme: z.literal('api_key'), baseUrl, header: headerName, apiKey: token }).catchall(json),
  ],
  { error: 'must be bearer or api_key' },
);

/** Over http, credentials travel in clear text, which is acceptable only on loopback. */
function isSafeUrl(value: string): boolean {
  // URL would ignore or remove white space, backslashes, and a trailing ? or #.
  if (!/^https?:\/\/[^\s\\?#@]+$/i.test(value) || !URL.canParse(value)) return false;
  const { protocol, hostname } = new URL(value);
  const isLoopback = hostname === 'localhost' || hostname === '127.0.0.1' || hostname === '[::1]';
  return protocol === 'https:' || isLoopback;
}

/** The schema of each CRM's credentials. A test compares them with the types, field by field. */
export const schemas = { agentos, reapit, alto, street, loop, custom } satisfies {
  [P in Provider]: z.ZodType<CredentialsByProvider[P]>;
};
