/**
 * Clients for teams that reach the database through another library than `pg`, or through an ORM. Every function of
 * this package that takes a client also takes these. A page with a program for each library: `docs/clients.md`.
 *
 * @packageDocumentation
 */

export {
  fromPostgresJs,
  type PostgresJs,
  type PostgresJsColumn,
  type PostgresJsRow,
  type PostgresJsRows,
} from './clients/postgres-js.js';
export { clientOf, type SharedPool, shareClients } from './clients/shared-pool.js';
