import { noOdyssey, startOdyssey } from './odyssey.js';
import { minorVersion, noPgBouncer, startPgBouncer } from './pgbouncer.js';
import type { Pooler, PoolerOptions } from './pooler.js';

/** A pooler to test behind. */
interface PoolerUnderTest {
  readonly name: string;
  /** Whether it resets a connection to the server before it gives it to the next client. */
  readonly discards: boolean;
  readonly supportsNamedStatements: boolean;
  start(options: PoolerOptions): Promise<Pooler>;
}

const pgBouncer: PoolerUnderTest = {
  name: 'PgBouncer',
  discards: false,
  supportsNamedStatements: minorVersion >= 21,
  start: (options) => startPgBouncer(options),
};

const odysseys = [false, true].map(
  (discards): PoolerUnderTest => ({
    name: `Odyssey with pool_discard ${discards ? 'yes' : 'no'}`,
    discards,
    supportsNamedStatements: true,
    start: (options) => startOdyssey(options, { discards }),
  }),
);

/** The installed poolers, in transaction mode. */
export const poolers: readonly PoolerUnderTest[] = [
  ...(noPgBouncer ? [] : [pgBouncer]),
  ...(noOdyssey ? [] : odysseys),
];
