import type { MigrationPlan, MigrationState, MigrationStatus } from '../migrations.js';
import { escapeForTerminal, formatTable } from './text.js';
import { formatTime } from './times.js';

/**
 * The status of the migrations, for people.
 *
 * @param otherLineEndings the migrations of this package that differ from their release only in their line endings
 */
export function statusReport(status: MigrationStatus, otherLineEndings: ReadonlySet<string>): string[] {
  const { schema, migrationsTable, migrations } = status;
  const applied = migrations.filter(({ standing }) => standing === 'applied').length;
  const known = migrations.filter(({ standing }) => standing !== 'unknown').length;
  return [
    escapeForTerminal(`Schema ${schema}, according to ${migrationsTable}: ${applied} of ${known} applied`),
    '',
    ...formatTable('lll', [
      ['Migration', 'Status', 'Applied (UTC)'],
      ...migrations.map((migration) => [
        migration.name,
        migration.standing,
        migration.appliedAt === null ? '' : formatTime(migration.appliedAt),
      ]),
    ]),
    ...remarks(migrations, otherLineEndings),
  ];
}

function remarks(migrations: readonly MigrationState[], otherLineEndings: ReadonlySet<string>): string[] {
  const namesOf = (condition: (state: MigrationState) => boolean) =>
    migrations.filter(condition).map(({ name }) => name);
  const remark = (names: string[], text: string) =>
    names.length === 0 ? [] : ['', text, ...names.map(escapeForTerminal)];
  return [
    ...remark(
      namesOf(({ release, name }) => release === 'edited' && !otherLineEndings.has(name)),
      'Edited since their release; reinstall the package:',
    ),
    ...remark(
      namesOf(({ name }) => otherLineEndings.has(name)),
      'Different from their release only in line endings (CRLF); reinstall the package\nfrom a clone with LF:',
    ),
    ...remark(
      namesOf(({ isOutOfOrder }) => isOutOfOrder),
      'Pending, although a later one is applied:',
    ),
    ...remark(
      namesOf(({ standing }) => standing === 'unknown'),
      'Unknown to this version; a newer one applied them:',
    ),
  ];
}

/** A plan as SQL for `psql`. */
export function planText({ direction, schema, migrations }: MigrationPlan): string {
  const names = migrations.map(({ name }) => name.slice(0, 4)).join(', ');
  return [
    escapeForTerminal(`-- crm-schema migrate ${direction}, in schema ${schema}: ${names}.`),
    '-- To run it by hand, as the owner: psql --set ON_ERROR_STOP=1 --file <this file> …',
    '',
    // psql would read the file in the encoding of its terminal, and store other characters.
    "set client_encoding to 'UTF8';",
    '',
    migrations
      .map(({ open, change, close }) => [...open, '', change.trim(), '', ...close].join('\n'))
      .join('\n\n'),
  ].join('\n');
}
