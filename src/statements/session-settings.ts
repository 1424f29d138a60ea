import type { DedicatedConnection } from './dedicated-connection.js';

/** Settings by name in lower case, each as PostgreSQL's view pg_settings shows it, without a unit. */
export type Settings = Readonly<Record<string, string>>;

/**
 * Settings that this package's SQL relies on, and that a user or database may have changed. At a level above read
 * committed, one row that changed meanwhile would fail a whole batch; times are parsed as ISO.
 */
export const requiredSettings: Settings = {
  default_transaction_isolation: 'read committed',
  datestyle: 'ISO',
  standard_conforming_strings: 'on',
  quote_all_identifiers: 'off',
  row_security: 'on',
};

/** For a session that pauses between attempts. */
export const noIdleTimeout: Settings = { idle_session_timeout: '0' };

/** Sets settings until the end of the transaction. */
export function setLocally(client: DedicatedConnection, settings: Settings): Promise<unknown> {
  return setConfig(client, settings, true);
}

/** Sets settings until the end of the session. Not through a pooler, which would pass them on to other clients. */
export function setForSession(client: DedicatedConnection, settings: Settings): Promise<unknown> {
  return setConfig(client, settings, false);
}

/**
 * Runs `work` with these session settings, and restores the earlier ones afterwards, even if it fails. For
 * statements that cannot run in a transaction.
 *
 * @param client not through a pooler, which would pass the settings on to other clients
 */
export async function withSessionSettings<Result>(
  client: DedicatedConnection,
  settings: Settings,
  work: () => Promise<Result>,
): Promise<Result> {
  const { rows } = await client.query(
    // Some names have capitals there.
    'select name, setting from pg_catalog.pg_settings where pg_catalog.lower(name) = any ($1::text[])',
    [Object.keys(settings)],
  );
  try {
    await setForSession(client, settings);
    return await work();
  } finally {
    const earlierSettings = Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
    // If the connection is lost, so are its settings.
    await setForSession(client, earlierSettings).catch(() => {});
  }
}

async function setConfig(
  client: DedicatedConnection,
  settings: Settings,
  isLocal: boolean,
): Promise<unknown> {
  return client.query(
    'select pg_catalog.set_config(key, value, $2::boolean) from pg_catalog.json_each_text($1::json)',
    [JSON.stringify(settings), isLocal],
  );
}
