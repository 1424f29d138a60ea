import { beforeAll, describe, expect, test } from 'vitest';
import { migrations } from '../support/migrations.js';
import { contentsOf, type Shape, shapeOf } from './behaviour.js';
import { beside } from './beside.js';
import { install, migrateTo, useInstallation, useLogins } from './installation.js';
import { releases } from './releases.js';

const logins = useLogins();

/** The last release for each earlier state of the database. */
const upgraded = releases.filter(
  ({ lastMigration }, position) =>
    lastMigration < migrations.length && lastMigration !== releases[position + 1]?.lastMigration,
);

describe.each(upgraded)('while $version keeps running', (release) => {
  const database = useInstallation(logins);
  const { url, pool } = database;
  let shape: Shape;
  beforeAll(async () => {
    await install(database, logins, release);
    shape = await shapeOf(pool);
  });

  /** Migrates, one transaction per file, and expects that no call fails and no event is lost. */
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

  test('a migration up makes no query fail', () => migrateBeside(later));

  test('a migration down makes no query fail', () =>
    migrateBeside(later.map((number) => number - 1).toReversed()));
});
