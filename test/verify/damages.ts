import { expect, inject } from 'vitest';
import { withClient } from '../../dev/database.js';
import type { Difference } from '../../src/verify/verify.js';
import { rolledBack, type TestDatabase } from '../support/database.js';
import { differencesIn, differencesOf, isTransactional } from './support.js';

/** Kind, name, expected and found of a difference; the last two may be parts of the texts. */
export type Reported = [Difference['kind'], string, string | null, string | null];

/** What somebody does to the schema by hand. */
export interface Damage {
  /** What the SQL does: the test's subject. */
  damage: string;
  sql: string;
  reported: Reported[];
  /** The advice, if no SQL repairs it, or not alone. */
  byHand?: RegExp;
  /** With `byHand`: what a person does who follows the advice. The SQL that verify prints then repairs the rest. */
  person?: string;
  /** The first version that refuses `sql`, and the error code. */
  refused?: { since: number; code: string };
}

/** `drops an index → reports index missing, repairs it` */
export function title({ damage, reported, byHand }: Damage): string {
  const drifts = reported.map(([kind, , expected, found]) => {
    const isMissing = found === null || (kind === 'partition' && /nothing|refused|go to/.test(found));
    const isDisabled = /\(disabled\)|are disabled\)?$/.test(found ?? '');
    const mismatch = found?.includes('(invalid') ? 'invalid' : isDisabled ? 'disabled' : 'mismatched';
    const drift = expected === null ? 'unexpected' : isMissing ? 'missing' : mismatch;
    return `${kind} ${drift}`;
  });
  const outcome = byHand === undefined ? 'repairs it' : 'gives advice';
  return `${damage} → reports ${[...new Set(drifts)].join(', ')}; ${outcome}`;
}

/** Does the damage, expects exactly what is reported, and expects nothing to differ once the SQL has run that is printed. */
export async function expectRepaired({ url, pool }: TestDatabase, damage: Damage): Promise<void> {
  const { sql, reported, byHand, person, refused } = damage;
  if (refused !== undefined && inject('serverMajorVersion') >= refused.since) {
    await expect(rolledBack(pool, (client) => client.query(sql))).rejects.toMatchObject({
      code: refused.code,
    });
    return;
  }
  const unrepaired = await rolledBack(pool, async (client) => {
    await client.query(sql);
    let differences = await differencesIn(client);
    expect(differences).toMatchObject(
      reported.map(([kind, name, expected, found]) => ({
        kind,
        name,
        expected: expected === null ? null : expect.stringContaining(expected),
        found: found === null ? null : expect.stringContaining(found),
      })),
    );
    expect(differences.some(({ advice }) => byHand?.test(advice ?? ''))).toBe(byHand !== undefined);
    for (const { statements, advice } of differences)
      expect([statements.length > 0, advice !== null]).toContainEqual(true);
    if (person !== undefined) {
      await client.query(person);
      differences = await differencesIn(client);
    } else if (byHand !== undefined) return differences;
    if (!differences.every(isTransactional)) return differences;
    // One at a time, as a user copies them.
    for (const statement of differences.flatMap(({ statements }) => statements))
      await client.query(statement);
    const left = await differencesIn(client);
    // Coming months can be created only once there is a catch-all to cut them from.
    for (const statement of left.flatMap(({ statements }) => statements)) await client.query(statement);
    expect(left.filter(({ kind }) => kind !== 'partition')).toEqual([]);
    expect(await differencesIn(client)).toEqual([]);
    return [];
  });
  if (byHand !== undefined || unrepaired.length === 0) return;
  await withClient(url, async (client) => {
    await client.query(sql);
    for (const statement of unrepaired.flatMap(({ statements }) => statements)) await client.query(statement);
    expect(await differencesOf(client)).toEqual([]);
  });
}
