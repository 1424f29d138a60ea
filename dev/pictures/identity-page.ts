import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { ClientBase } from 'pg';
import { credentialsConnect, generateKey, KeyRing } from '../../src/credentials.js';
import * as api from '../../src/index.js';

/** The page whose code makes the picture. */
export const page = 'docs/identity.md';

/** An async function made of source text, such as `new AsyncFunction('a', 'return a')`. */
const AsyncFunction = (async () => {}).constructor as new (
  ...parametersAndBody: string[]
) => (...values: unknown[]) => Promise<void>;

/**
 * Runs the code of docs/identity.md, from top to bottom, for a new organisation.
 *
 * @param text of the page
 * @param client connected as the owner to a migrated database with the host tables
 * @returns the UUID of the organisation
 * @throws Error if a call returns something else than the page says
 */
export async function runIdentityPage(text: string, client: ClientBase): Promise<string> {
  const organisationId = randomUUID();
  await client.query("insert into organisations (id, name) values ($1, 'Puddlewick Lettings')", [
    organisationId,
  ]);
  const keys = await KeyRing.parse({ keys: [await generateKey('A256KW', 'page')] });
  const connect = async (params: Parameters<typeof credentialsConnect>[2]) => {
    const { connectionId } = await credentialsConnect(client, keys, params);
    const runs = await api.syncRunClaim(client, { worker: 'page', limit: 1000 });
    const run = runs.find((claimed) => claimed.connectionId === connectionId);
    if (run === undefined) throw new Error('The new connection was not claimed.');
    return run;
  };
  const customer = { grant: 'client_credentials', customer: 'OXF' } as const;
  const run = await connect({ organisationId, provider: 'reapit', credentials: customer });
  const agency = { apiKey: 'page', shortName: 'puddlewick' };
  const agentosRun = await connect({ organisationId, provider: 'agentos', credentials: agency });
  const createContact = async (name: string) => {
    const id = randomUUID();
    await client.query('insert into contacts (id, organisation_id, name) values ($1, $2, $3)', [
      id,
      organisationId,
      name,
    ]);
    return id;
  };
  const shows = (found: unknown, shown: unknown, code: string) => {
    if (isDeepStrictEqual(found, shown)) return;
    throw new Error(
      `${page} says that ${code} is ${JSON.stringify(shown)}, but it is ${JSON.stringify(found)}.`,
    );
  };
  const names = {
    ...api,
    credentialsConnect,
    client,
    keys,
    organisationId,
    run,
    agentosRun,
    createContact,
    shows,
  };
  await new AsyncFunction(...Object.keys(names), checkedCode(text))(...Object.values(names));
  return organisationId;
}

/** The code of the page, in which each line `expression; // → value` compares the two. */
function checkedCode(text: string): string {
  const blocks = text.matchAll(/^```ts\n([\s\S]*?)^```$/gm);
  return [...blocks]
    .map(([, code = '']) => code)
    .join('')
    .replaceAll(' as const;', ';')
    .replaceAll(
      /^(.*); \/\/ → (.*)$/gm,
      (_, code, shown) => `shows(${code}, ${shown}, ${JSON.stringify(code)});`,
    );
}
