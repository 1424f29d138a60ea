import { beforeAll, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { catalog } from '../migrations/catalog.js';
import { migrations } from '../support/migrations.js';
import { expectRefused } from '../support/refusals.js';
import { differencesOf } from '../verify/support.js';
import { behaviourOf, contentsOf, type Shape, shapeOf } from './behaviour.js';
import { install, migrateTo, useInstallation, useLogins } from './installation.js';
import { releases } from './releases.js';
import { organisationId, samples } from './samples.js';

const logins = useLogins();
const fresh = useInstallation(logins);
beforeAll(() => migrateTo(fresh, logins));

describe.each(releases)('from $version', (release) => {
  const { version, lastMigration, queries } = release;
  const before = useInstallation(logins);
  const after = useInstallation(logins);
  let shape: Shape;
  let data: string[];

  beforeAll(async () => {
    await install(before, logins, release);
    await install(after, logins, release);
    shape = await shapeOf(before.pool);
    data = await contentsOf(before.pool, shape);
  });

  test('an upgrade gives the catalog of a new installation, and keeps the data', async () => {
    for (const table of shape.keys()) expect(data.join('\n')).toContain(`${table} (`);
    expect(await contentsOf(after.pool, shape)).toEqual(data);
    await migrateTo(after, logins);
    expect(await catalog(after.pool)).toEqual(await catalog(fresh.pool));
    expect(await withClient(after.url, differencesOf)).toEqual([]);
    expect(await contentsOf(after.pool, shape)).toEqual(data);
  });

  describe.each(queries)('$name', (query) => {
    const { runner, calls } = samples[query.name] ?? { runner: 'application', calls: [] };
    const tenant = runner === 'application' ? organisationId : undefined;

    /** What each call did before the upgrade, and must do after it. */
    async function expected() {
      const behaviours = [];
      for (const params of calls)
        behaviours.push(await behaviourOf(before.pool, query, params, shape, { login: logins.owner }));
      expect(behaviours.filter(({ rows = [] }) => rows.length > 0)).not.toEqual([]);
      return behaviours;
    }

    async function found(login: string, organisation?: string) {
      const behaviours = [];
      for (const params of calls) {
        const caller = { login, organisationId: organisation };
        behaviours.push(await behaviourOf(after.pool, query, params, shape, caller));
      }
      return behaviours;
    }

    test('behaves as before for the owner', async () => {
      expect(await found(logins.owner)).toEqual(await expected());
    });

    test(`behaves as before for ${tenant ? 'an application that works for its tenant' : 'the sync worker'}`, async () => {
      expect(await found(logins[runner], tenant)).toEqual(await expected());
    });
  });

  test(`a down restores the catalog of ${version}, and keeps the data`, async () => {
    await migrateTo(after, logins, lastMigration);
    expect(await catalog(after.pool)).toEqual(await catalog(before.pool));
    expect(await contentsOf(after.pool, shape)).toEqual(data);
    await migrateTo(after, logins);
    expect(await contentsOf(after.pool, shape)).toEqual(data);
  });

  const later = releases.slice(releases.indexOf(release) + 1);
  test.runIf(later.some((other) => other.lastMigration > lastMigration && other.data !== ''))(
    'a down that would lose later rows is refused, and changes nothing',
    async () => {
      for (const other of later) await after.pool.query(other.data);
      const now = await shapeOf(after.pool);
      const [contents, objects] = [await contentsOf(after.pool, now), await catalog(after.pool)];
      await expectRefused(migrateTo(after, logins, lastMigration), { code: 'CRM03' });
      expect(await contentsOf(after.pool, now)).toEqual(contents);
      expect(await catalog(after.pool)).toEqual(objects);
      const { rows } = await after.pool.query('select count(*)::integer as applied from pgmigrations');
      expect(rows).toEqual([{ applied: migrations.length }]);
    },
  );
});
