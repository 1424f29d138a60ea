import * as v from 'valibot';
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
  const problem = message(`must be ${what}`);
  return v.pipe(v.string(problem), v.regex(pattern, problem));
}

/** The message for a value that is invalid or missing. */
function message(problem: string): (issue: { input: unknown }) => string {
  return ({ input }) => (input === undefined ? 'is missing' : problem);
}

const object = message('must be an object');
const flag = v.boolean(message('must be true or false'));

/** An OAuth client. */
export const oauthClient = v.object(
  { id: token, secret: token },
  message('must be an object with id and secret'),
);

const agentos = v.object(
  {
    apiKey: token,
    shortName: text(/^(?!\.{1,2}$)[\w.~-]+$/, 'one segment of a URL path'),
    branchOid: v.optional(name),
  },
  object,
);

const reapitCommon = {
  client: v.optional(oauthClient),
  accessToken: v.optional(token),
  apiVersion: v.optional(name),
};

const reapit = v.variant(
  'grant',
  [
    v.object({ grant: v.literal('client_credentials'), customer: name, ...reapitCommon }, object),
    v.object(
      {
        grant: v.literal('authorization_code'),
        refreshToken: token,
        customer: v.optional(name),
        ...reapitCommon,
      },
      object,
    ),
  ],
  'must be client_credentials or authorization_code',
);

const alto = v.object(
  {
    agencyRef: v.pipe(v.string(message('must be a GUID')), v.uuid('must be a GUID')),
    client: v.optional(oauthClient),
    accessToken: v.optional(token),
  },
  object,
);

const street = v.object({ token, sandbox: v.optional(flag) }, object);

/** Unknown fields: `checkCredentials` has already checked that they are JSON. */
const json = v.custom<Json>(() => true);

const loop = v.objectWithRest({ apiKey: token }, json, object);

const baseUrlError = message('must be an https URL without user, password, query and fragment');
const baseUrl = v.pipe(v.string(baseUrlError), v.check(isSafeUrl, baseUrlError));

/** Headers that decide where a request goes and where it ends, so they cannot carry a key. */
const framingHeaders = /^(?:host|connection|content-length|transfer-encoding|upgrade|te|trailer|cookie)$/i;
const headerName = v.pipe(
  text(/^[a-z0-9][\w!#$%&'*+.^`|~-]{0,99}$/i, 'the name of an HTTP header'),
  v.check((value) => !framingHeaders.test(value), 'must be a header that can carry a key'),
);

const custom = v.variant(
  'scheme',
  [
    v.objectWithRest({ scheme: v.literal('bearer'), baseUrl, token }, json, object),
    v.objectWithRest(
      { scheme: v.literal('api_key'), baseUrl, header: headerName, apiKey: token },
      json,
      object,
    ),
  ],
  'must be bearer or api_key',
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
  [P in Provider]: v.GenericSchema<CredentialsByProvider[P]>;
};
