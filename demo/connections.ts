import {
  type CredentialsOwner,
  credentialsConnect,
  generateKey,
  KeyRing,
  type ProviderCredentials,
} from '../src/credentials.js';
import type { Provider, Queryable, SwitchedIds } from '../src/index.js';
import { type Agency, gullhaven, puddlewick, thistle } from './people.js';

/** A connection in the story. Its id is fixed, so that the output never changes. */
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
/** Reconnecting a CRM creates a new connection. */
export const thistleAltoElsewhere = connection(7, thistle, 'alto');
export const thistleAltoAgain = connection(8, thistle, 'alto');

/** The CRMs' names, as they spell them. */
export const providerNames: Record<Provider, string> = {
  agentos: 'agentOS',
  reapit: 'Reapit',
  alto: 'Alto',
  street: 'Street',
  loop: 'Loop',
  custom: 'Custom',
};

/** Placeholder credentials in the shape that each CRM requires; none of them is valid. */
const credentials: { [P in Provider]: ProviderCredentials<P> } = {
  agentos: { provider: 'agentos', credentials: { apiKey: 'demo', shortName: 'puddlewick' } },
  // The client id and secret are NurtureHub's; only the customer id belongs to the agency.
  reapit: { provider: 'reapit', credentials: { grant: 'client_credentials', customer: 'SBOX' } },
  alto: { provider: 'alto', credentials: { agencyRef: 'e0000000-0000-4000-8000-000000000001' } },
  street: { provider: 'street', credentials: { token: 'demo' } },
  loop: { provider: 'loop', credentials: { apiKey: 'demo' } },
  custom: {
    provider: 'custom',
    credentials: { scheme: 'bearer', baseUrl: 'https://crm.example.com', token: 'demo' },
  },
};

/** A key for this run only: the demo never reads the credentials again. */
const keys = await KeyRing.parse({ keys: [await generateKey('A256KW', 'demo-key-1')] });

/** Credentials of another account at Alto. */
export const otherAlto: ProviderCredentials<'alto'> = {
  provider: 'alto',
  credentials: { agencyRef: 'e0000000-0000-4000-8000-000000000002' },
};

/** Connects an agency's CRM with credentials encrypted for this connection only. */
export async function connect(
  client: Queryable,
  owner: DemoConnection,
  chosen: ProviderCredentials<Provider> = credentials[owner.provider],
): Promise<SwitchedIds> {
  return credentialsConnect(client, keys, { ...owner, ...chosen });
}
