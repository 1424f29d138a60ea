import * as v from 'valibot';
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
  const { success, output, issues } = v.safeParse(schemas[provider], copy);
  if (!success) throw invalidCredentials(provider, issues);
  if (mayHaveUnknownFields(provider)) return copy as Credentials<P>;
  refuseUnknownFields(provider, copy as object, output);
  return output as Credentials<P>;
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
  const attempt = v.safeParse(schemas[provider], Object.fromEntries(kept));
  for (const { path } of attempt.issues ?? []) kept.delete(String(path?.[0].key));
  const rest = Object.fromEntries(kept);
  const { success, output, issues } = v.safeParse(schemas[provider], rest);
  if (!success) throw invalidCredentials(provider, issues);
  return (mayHaveUnknownFields(provider) ? rest : output) as Credentials<P>;
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
function invalidCredentials(provider: Provider, issues: readonly v.BaseIssue<unknown>[]): CrmSchemaError {
  const problems = issues.map((issue) => `credentials.${v.getDotPath(issue)} ${issue.message}`);
  return new CrmSchemaError('invalid_credentials', `${problems.join('; ')} (${provider}).`);
}

/** Whether the CRM's credentials may have more fields. The parser would drop those that are named like `constructor`. */
function mayHaveUnknownFields(provider: Provider): boolean {
  return shapesOf(provider).some((shape) => 'rest' in shape);
}

/** Refuses fields that the schema left out. Does not repeat their names, which may contain a secret. */
function refuseUnknownFields(provider: Provider, given: object, known: object, path = 'credentials'): void {
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const knownValue = Object.hasOwn(known, name) ? (known as Record<string, object>)[name] : undefined;
    if (knownValue === undefined) {
      const names = path === 'credentials' ? fieldNames(provider, known) : Object.keys(oauthClient.entries);
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
  const fitting = shapesOf(provider).find(({ entries }) =>
    Object.keys(known).every((name) => name in entries),
  );
  return Object.keys(fitting?.entries ?? {});
}

/** The objects that a CRM's credentials may be. */
function shapesOf(provider: Provider) {
  const schema = schemas[provider];
  return 'options' in schema ? schema.options : [schema];
}
