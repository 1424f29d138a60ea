import { ErasureKey, erasureKeyVariable } from '../erasure/erasure-key.js';

/**
 * The key of the proofs, from the environment.
 *
 * @throws Error if there is none; CrmSchemaError `invalid_key_ring`
 */
export function readErasureKey(): ErasureKey {
  const text = process.env[erasureKeyVariable] ?? '';
  if (text === '') throw new Error(`${erasureKeyVariable} is not set: it holds the key of the proofs.`);
  return ErasureKey.parse(text);
}
