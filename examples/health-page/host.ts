import type { IncomingMessage } from 'node:http';
import type pg from 'pg';

/** The agency that somebody works for. */
export interface Agency {
  /** The organisation's UUID. */
  id: string;
  name: string;
}

/** What the page needs of the application around it. */
export interface Host {
  /**
   * The agency of whoever has sent the request; undefined if nobody is signed in. Signing in is yours: read your own
   * cookie or token here, and never take an agency from the address or a form.
   */
  organisationOf(request: IncomingMessage): Promise<Agency | undefined>;

  /** The names of those of these contacts that exist and are the organisation's, by id. */
  contactNames(
    client: pg.ClientBase,
    organisationId: string,
    contactIds: readonly string[],
  ): Promise<ReadonlyMap<string, string>>;
}

/** Reads the names from NurtureHub's own table. Its owner grants `select (id, organisation_id, name)` to the user. */
export const contactNames: Host['contactNames'] = async (client, organisationId, contactIds) => {
  if (contactIds.length === 0) return new Map();
  const { rows } = await client.query(
    'select id, name from contacts where organisation_id = $1 and id = any($2)',
    [organisationId, contactIds],
  );
  return new Map(rows.map(({ id, name }) => [String(id), String(name)]));
};
