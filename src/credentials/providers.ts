import { z } from 'zod';
import { CrmSchemaError } from '../errors.js';
import type { Provider } from '../types.js';
import { checkProvider } from '../validation.js';

/**
 * What each CRM wants to be signed in with. Facts from the vendors' documentation; where a vendor
 * publishes nothing, fields we do not know are let through.
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
  const error = `has to be ${what}`;
  return z.string({ error }).regex(pattern, { error });
}

const flag = z.boolean({ error: 'has to be true or false' });

/** An OAuth client. */
const client = z.strictObject(
  { id: token, secret: token },
  { error: 'has to be an object with id and secret, and nothing else' },
);

const agentos = z.strictObject({
  /** Sent as the header `api_key`. */
  apiKey: token,
  /** The segment of each URL's path that names the agency. */
  shortName: text(/^[^\s/?#]+$/, 'one segment of a URL path'),
  /** Narrows the connection to one branch. */
  branchOid: name.optional(),
});

/** What both of Reapit's grants share. */
const reapitCommon = {
  /** The agency's own OAuth client; without it NurtureHub's. */
  client: client.optional(),
  /** The latest access token: an hour long. */
  accessToken: token.optional(),
  /** Sent as the header `api-version`. */
  apiVersion: name.optional(),
};

const reapit = z.discriminatedUnion(
  'grant',
  [
    z.strictObject({
      grant: z.literal('client_credentials'),
      /** Sent as the header `reapit-customer`: which agency; `SBOX` is the sandbox. */
      customer: name,
      ...reapitCommon,
    }),
    z.strictObject({
      grant: z.literal('authorization_code'),
      /** Single use: each refresh brings another. */
      refreshToken: token,
      /** Sent as the header `reapit-customer`, where it is known. */
      customer: name.optional(),
      ...reapitCommon,
    }),
  ],
  { error: 'has to be client_credentials or authorization_code' },
);

const alto = z.strictObject({
  /** Sent as the header `AgencyRef`: which agency, as a GUID. */
  agencyRef: z.guid({ error: 'has to be a GUID' }),
  /** The agency's own OAuth client; without it NurtureHub's. */
  client: client.optional(),
  /** The latest access token. */
  accessToken: token.optional(),
});

const street = z.strictObject({
  /** The application's bearer token, which Street shows once. */
  token,
  /** Whether it belongs to Street's sandbox, which has another base URL. */
  sandbox: flag.optional(),
});

const json = z.json({ error: 'has to be JSON' });

const loop = z
  .object({
    /** Sent as the header `x-api-key`. */
    apiKey: token,
  })
  .catchall(json);

const baseUrl = z
  .string({ error: 'has to be an https URL' })
  .refine(isSafeUrl, { error: 'has to be an https URL without user, password, query and fragment' });

const custom = z.discriminatedUnion(
  'scheme',
  [
    z
      .object({
        /** Sends `Authorization: Bearer …`. */
        scheme: z.literal('bearer'),
        /** Where the CRM's API is: https, or http on this very machine. */
        baseUrl,
        token,
      })
      .catchall(json),
    z
      .object({
        /** Sends the key as a header. */
        scheme: z.literal('api_key'),
        /** Where the CRM's API is: https, or http on this very machine. */
        baseUrl,
        /** The header's name: RFC 9110's token. */
        header: text(/^[\w!#$%&'*+.^`|~-]{1,100}$/, 'the name of an HTTP header'),
        apiKey: token,
      })
      .catchall(json),
  ],
  { error: 'has to be bearer or api_key' },
);

/** Credentials travel in the clear over http, which only a machine's own loopback can excuse. */
function isSafeUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname, username, password, search, hash } = new URL(value);
  const isLoopback = hostname === 'localhost' || hostname === '127.0.0.1' || hostname === '[::1]';
  const isEncrypted = protocol === 'https:' || (protocol === 'http:' && isLoopback);
  return isEncrypted && `${username}${password}${search}${hash}` === '';
}

const schemas = { agentos, reapit, alto, street, loop, custom } satisfies Record<Provider, z.ZodType>;

/** The credentials of each CRM, decrypted. */
export type CredentialsByProvider = { [P in Provider]: z.infer<(typeof schemas)[P]> };

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
  const { data, error } = schemas[provider].safeParse(value);
  if (error === undefined) return data as Credentials<P>;
  throw new CrmSchemaError('invalid_credentials', complaint(provider, error));
}

/** The first thing that is wrong. Names of unknown fields are not repeated: a secret may have slipped there. */
function complaint(provider: Provider, { issues: [issue] }: z.ZodError): string {
  const path = issue?.path ?? [];
  if (issue?.code === 'unrecognized_keys' && path.length === 0) {
    return `credentials of ${provider} have a field that does not belong there; these do: ${fields(provider).join(', ')}.`;
  }
  const [field] = path;
  if (!fields(provider).includes(String(field))) {
    return `credentials of ${provider} have a field whose value is not JSON.`;
  }
  return `credentials.${path.join('.')} of ${provider} ${issue?.message}.`;
}

/** The names of all fields that are known of a CRM's credentials. */
function fields(provider: Provider): string[] {
  const schema = schemas[provider];
  const shapes = 'options' in schema ? schema.options.map(({ shape }) => shape) : [schema.shape];
  return [...new Set(shapes.flatMap((shape) => Object.keys(shape)))];
}
