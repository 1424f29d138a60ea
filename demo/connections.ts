import { randomBytes } from 'node:crypto';
import { FlattenedEncrypt } from 'jose';
import {
  type CredentialsOwner,
  connectionConnect,
  credentialsAad,
  type EncryptedCredentials,
  type Provider,
  type Queryable,
} from '../src/index.js';
import { type Agency, gullhaven, puddlewick, thistle } from './people.js';

/** A connection of the story. Its id is fixed, so that the demo prints the same each time. */
export type DemoConnection = CredentialsOwner;

const connection = (number: number, { id }: Agency, provider: Provider): DemoConnection => ({
  organisationId: id,
  connectionId: `d0000000-0000-4000-8000-00000000000${number}`,
  provider,
});

export const puddlewickReapit = connection(1, puddlewick, 'reapit');
export const puddlewickAgentos = connection(2, puddlewick, 'agentos');
export const thistleAlto = connection(3, thistle, 'alto');
export const thistleLoop = connection(4, thistle, 'loop');
export const gullhavenStreet = connection(5, gullhaven, 'street');
export const gullhavenCustom = connection(6, gullhaven, 'custom');
/** The same CRM connected anew is a new connection. */
export const thistleAltoAgain = connection(7, thistle, 'alto');

/** How each CRM spells its own name. */
export const providerNames: Record<Provider, string> = {
  agentos: 'agentOS',
  reapit: 'Reapit',
  alto: 'Alto',
  street: 'Street',
  loop: 'Loop',
  custom: 'Custom',
};

/** Placeholders in the shape of what each CRM signs in with; none of them opens anything. */
const credentials: Record<Provider, Record<string, string>> = {
  agentos: { apiKey: 'demo', shortName: 'puddlewick' },
  // The client id and secret are NurtureHub's own; what belongs to the agency is its customer id.
  reapit: { reapitCustomer: 'SBOX' },
  alto: { agencyRef: 'e0000000-0000-4000-8000-000000000001' },
  street: { bearerToken: 'demo' },
  loop: { apiKey: 'demo' },
  custom: { baseUrl: 'https://crm.example.com', bearerToken: 'demo' },
};

/** A key for this run alone: the demo never needs to read the credentials again. */
const key = randomBytes(32);

/** Encrypts an agency's credentials for one connection, and makes it. */
export async function connect(client: Queryable, owner: DemoConnection): Promise<void> {
  const plaintext = new TextEncoder().encode(JSON.stringify(credentials[owner.provider]));
  const jwe = await new FlattenedEncrypt(plaintext)
    .setProtectedHeader({ alg: 'A256KW', enc: 'A256GCM' })
    .setUnprotectedHeader({ kid: 'demo-key-1' })
    .setAdditionalAuthenticatedData(credentialsAad(owner))
    .encrypt(key);
  await connectionConnect(client, { ...owner, credentials: jwe as EncryptedCredentials });
}
