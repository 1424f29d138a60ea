import { createHmac } from 'node:crypto';
import { CrmSchemaError } from '../errors.js';

/** The environment variable that holds the key. */
export const erasureKeyVariable = 'CRM_SCHEMA_ERASURE_KEY';

/**
 * The key of proofs of erasure. With it, and with nothing else, whoever has a proof can tell whose it is: keep it for as
 * long as the proofs, and away from the database and its backups.
 */
export class ErasureKey {
  /** Names the key in proofs: 16 hexadecimal digits, which are derived from it. */
  readonly id: string;
  readonly #secret: Buffer;

  private constructor(secret: Buffer) {
    this.#secret = secret;
    this.id = this.#hmac('key id').toString('hex').slice(0, 16);
  }

  /**
   * Reads a key.
   *
   * @param text at least 32 random bytes in base64 or base64url: `openssl rand -base64 32`
   * @throws CrmSchemaError `invalid_key_ring`, which does not show it
   */
  static parse(text: string): ErasureKey {
    const trimmed = typeof text === 'string' ? text.trim() : '';
    const secret = Buffer.from(trimmed, 'base64');
    if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(trimmed) || secret.length < 32) {
      throw new CrmSchemaError(
        'invalid_key_ring',
        'The key of erasures must be at least 32 random bytes in base64: openssl rand -base64 32',
      );
    }
    return new ErasureKey(secret);
  }

  /**
   * What a proof has of a contact.
   *
   * @param organisationId the organisation's UUID
   * @param contactId the contact's UUID
   * @returns HMAC-SHA-256
   */
  hashContact(organisationId: string, contactId: string): Buffer {
    return this.#hmac(`contact ${organisationId.toLowerCase()} ${contactId.toLowerCase()}`);
  }

  /**
   * What a proof has of an organisation.
   *
   * @param organisationId the organisation's UUID
   * @returns HMAC-SHA-256
   */
  hashOrganisation(organisationId: string): Buffer {
    return this.#hmac(`organisation ${organisationId.toLowerCase()}`);
  }

  /**
   * The salt with which the database recognises the records of erased people.
   *
   * @param organisationId the organisation's UUID
   * @returns HMAC-SHA-256
   */
  salt(organisationId: string): Buffer {
    return this.#hmac(`salt ${organisationId.toLowerCase()}`);
  }

  #hmac(text: string): Buffer {
    return createHmac('sha256', this.#secret).update(`crm-schema ${text}`).digest();
  }
}
