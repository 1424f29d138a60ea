import type { z } from 'zod';
import { CrmSchemaError } from '../errors.js';
import type { Provider } from '../types.js';
import { checkProvider } from '../validation.js';
import { oauthClient, schemas } from './credential-schemas.js';
import type { CredentialsByProvider } from './credential-types.js';
import { isStorableJson } from './storable-json.js';

/** The decrypted credentials of a CRM; without a type argument, of any CRM. */
export type Credentials<P extends Provider = Provider> = CredentialsByProvider[P];

/**
 * Checks credentials against their provider's type, and returns a plain copy.
 *
 * @param provider the CRM
 * @param value the credentials, in clear text
 * @throws CrmSchemaError `invalid_credentials`, naming the field and never its value; `unknown_provider`
 */
export function checkCredentials<P extends Provider>(provider: P, value: unknown): Credentials<P> {
  checkProvider({ field: 'provider' }, provider);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CrmSchemaError('invalid_credentials', 'credentials must be an object.');
  }
  const copy = copyOf(value);
  if (!isStorableJson(copy)) {
    throw new CrmSchemaError(
      'invalid_credentials',
      `credentials contains a value that JSON cannot hold, a field named __proto__ or toJSON, or more than 32 levels (${provider}).`,
    );
  }
  const { data, error } = schemas[provider].safeParse(copy);
  if (error !== undefined) throw invalidCredentials(provider, error);
  refuseUnknownFields(provider, copy as object, data);
  return data as Credentials<P>;
}

/**
 * Keeps as much as possible of credentials that cannot be fetched again: drops unknown fields and invalid
 * optional ones, and trims white space around tokens.
 *
 * @throws CrmSchemaError `invalid_credentials` if the rest is not enough to sign in
 */
export function salvageCredentials<P extends Provider>(provider: P, value: unknown): Credentials<P> {
  const kept = new Map<string, unknown>();
  for (const [name, inner] of Object.entries(value ?? {})) {
    const part = typeof inner === 'string' ? inner.trim() : copyOf(inner);
    if (isStorableJson({ [name]: part })) kept.set(name, part);
  }
  const attempt = schemas[provider].safeParse(Object.fromEntries(kept));
  for (const { path } of attempt.error?.issues ?? []) kept.delete(String(path[0]));
  const { data, error } = schemas[provider].safeParse(Object.fromEntries(kept));
  if (error !== undefined) throw invalidCredentials(provider, error);
  return data as Credentials<P>;
}

/** A deep copy, which the caller cannot change later; undefined if the value cannot be copied, so is not JSON. */
function copyOf(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return undefined;
  }
}

/** Lists every problem. Repeats only the names of known fields: any other name may contain a secret. */
function invalidCredentials(provider: Provider, { issues }: z.ZodError): CrmSchemaError {
  const problems = issues.map(({ path, message: problem }) => `credentials.${path.join('.')} ${problem}`);
  return new CrmSchemaError('invalid_credentials', `${problems.join('; ')} (${provider}).`);
}

/** Refuses fields that the schema left out. Does not repeat their names, which may contain a secret. */
function refuseUnknownFields(provider: Provider, given: object, known: object, path = 'credentials'): void {
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const knownValue = Object.hasOwn(known, name) ? (known as Record<string, object>)[name] : undefined;
    if (knownValue === undefined) {
      const names = path === 'credentials' ? fieldNames(provider, known) : Object.keys(oauthClient.shape);
      throw new CrmSchemaError(
        'invalid_credentials',
        `${path} has an unknown field; known fields: ${names.join(', ')} (${provider}).`,
      );
    }
    if (typeof knownValue === 'object' && knownValue !== value) {
      refuseUnknownFields(provider, value as object, knownValue, `${path}.${name}`);
    }
  }
}

/** The names of the fields that credentials of this shape may have. */
function fieldNames(provider: Provider, known: object): string[] {
  const schema = schemas[provider];
  const shapes = 'options' in schema ? schema.options.map(({ shape }) => shape) : [schema.shape];
  const fitting = shapes.find((shape) => Object.keys(known).every((name) => name in shape));
  return Object.keys(fitting ?? {});
}
