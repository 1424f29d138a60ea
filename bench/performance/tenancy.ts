import pg from 'pg';
import { contactExternalIdResolveOne } from '../../src/generated/contact_external_ids.js';
import { startDelay } from '../delay.js';
import { createTenant } from './fleet.js';
import { type Row, timed } from './harness.js';
import type { Scope } from './scope.js';

const milliseconds = 1;

/** What `withOrganisation` adds to one look-up, where each round trip takes a millisecond. */
export async function* tenancy(scope: Scope): AsyncGenerator<Row> {
  const { ours, size } = scope.bench;
  const calls = Math.ceil(size.calls / 6);
  const poolOf = async (release: typeof ours, options: pg.PoolConfig = {}) => {
    const { client, url } = await scope.database(release);
    const { organisationId } = await createTenant(client);
    const delay = await startDelay(url, milliseconds);
    scope.atEnd(() => delay.stop());
    const pool = new pg.Pool({ connectionString: delay.url, max: 1, ...options });
    scope.atEnd(() => pool.end());
    return { pool, organisationId, release };
  };
  const record = { provider: 'reapit', entityType: 'contact', externalId: 'OXF1' } as const;
  const inOrganisation = ({ pool, organisationId, release }: Awaited<ReturnType<typeof poolOf>>) => {
    const { contactExternalIdResolve: resolve, withNamedStatements, withOrganisation } = release.api;
    return timed(calls, () =>
      withOrganisation(pool, organisationId, (client) =>
        resolve(withNamedStatements(client), { organisationId, ...record }),
      ),
    );
  };
  const raw = ({ pool, organisationId }: Awaited<ReturnType<typeof poolOf>>) => {
    const { text, parameterNames } = contactExternalIdResolveOne;
    const given: Record<string, unknown> = { organisationId, ...record };
    const values = parameterNames.map((name) => given[name]);
    return timed(calls, () => pool.query({ name: 'raw', text, values }));
  };
  for (const [pool, options, timesSlower] of [
    ['a pool', {}, 2.1],
    ['a pool that pipelines', { pipeline: true } as pg.PoolConfig, 1.3],
  ] as const) {
    const plain = await poolOf(ours, options);
    yield {
      work: `find one id inside withOrganisation, ${milliseconds} ms away, on ${pool}`,
      unit: 'ms',
      rounds: size.rounds,
      ours: inOrganisation(plain),
      beside: [
        {
          name: 'pool.query alone',
          goal: { ratio: 1 / timesSlower },
          way: raw(plain),
        },
        ...(pool === 'a pool'
          ? [
              scope.besideEarlier(
                await scope.earlier(async (release) => inOrganisation(await poolOf(release))),
              ),
            ]
          : []),
      ],
    };
  }
}
