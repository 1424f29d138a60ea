import { beforeAll, describe, expect, test } from 'vitest';
import { migrations } from '../migrations/support.js';
import { contentsOf, type Shape, shapeOf } from './behaviour.js';
import { beside } from './beside.js';
import { install, migrateTo, useInstallation, useLogins } from './installation.js';
import { releases } from './releases.js';

const logins = useLogins();

/** The last release on each state of the database that is not the present one. */
const upgraded = releases.filter(
  ({ lastMigration }, position) =>
    lastMigration < migrations.length && lastMigration !== releases[position + 1]?.lastMigration,
);

describe.each(upgraded)('while $version goes on', (release) => {
  const database = useInstallation(logins);
  const { url, pool } = database;
  let shape: Shape;
  beforeAll(async () => {
    await install(database, logins, release);
    shape = await shapeOf(pool);
  });

  /** Migrates, each file in a transaction of its own, and expects that nothing fails and nothing is lost. */
  async function migrateBeside(numbers: readonly number[]): Promise<void> {
    const isRecorded = (line: string) => line.includes(',beside,');
    const before = await contentsOf(pool, shape);
    const { rounds, failures, recorded } = await beside(url, logins.owner, release, async () => {
      for (const number of numbers) await migrateTo(database, logins, number);
    });
    expect(failures).toEqual([]);
    expect(rounds).toBeGreaterThan(0);
    const after = await contentsOf(pool, shape);
    expect(after.filter((line) => !isRecorded(line))).toEqual(before.filter((line) => !isRecorded(line)));
    expect(after.filter(isRecorded)).toHaveLength(before.filter(isRecorded).length + recorded);
  }

  const later = migrations.map((_, position) => position + 1).slice(release.lastMigration);

  test('it is migrated up, and no query fails', () => migrateBeside(later));

  test('it is migrated down again, and no query fails', () =>
    migrateBeside(later.map((number) => number - 1).toReversed()));
});
