import { bySql, type Change, type Difference, identifier, nameOf, type Repair } from './difference.js';
import type { Installation } from './items.js';

const option = 'grant option for ';

/** Parts what was granted from the one who granted it, if that is told: `select, granted by "a, b"`. */
export function partGrantor(text: string): [granted: string, grantor: string | undefined] {
  const [, granted = text, grantor] = new RegExp(`^(.*), granted by (${identifier})$`, 's').exec(text) ?? [];
  return [granted, grantor];
}

/** Privileges that a grantee lacks, and those that he has too many of, by who granted them: one difference each. */
export function privilegeDifferences(change: Change<string[]>, place: Installation): Difference[] {
  const { object, kind, name: grantee } = change;
  const expected = change.expected ?? [];
  const found = change.found ?? [];
  const missing = expected.filter((privilege) => !found.includes(privilege));
  const extra = found
    .filter((privilege) => !expected.includes(privilege))
    // It goes with the privilege itself.
    .filter((privilege, _, all) => !all.some((other) => privilege === option + other));
  const difference = (said: Pick<Difference, 'expected' | 'found'>, how: Repair): Difference => ({
    kind,
    name: `${grantee} on ${object}`,
    ...said,
    ...how,
  });
  const to = grantee === 'the owner' ? place.owner : grantee;
  // Who may pass on what he has may have done so.
  const cascade = found.some((privilege) => privilege.startsWith(option)) ? ' cascade' : '';
  const byGrantor = new Map<string | undefined, string[]>();
  for (const [privilege, grantor] of extra.map(partGrantor)) {
    byGrantor.set(grantor, [...(byGrantor.get(grantor) ?? []), privilege]);
  }
  const own = byGrantor.get(undefined) ?? [];
  byGrantor.delete(undefined);
  return [
    ...(missing.length === 0
      ? []
      : [difference({ expected: words(missing), found: null }, bySql(grant(missing, object, to)))]),
    // First what was passed on: whoever did so has to have the right to it still.
    ...[...byGrantor].map(([grantor, privileges]) =>
      difference(
        { expected: null, found: `${words(privileges)}, granted by ${grantor}` },
        bySql(`set role ${grantor}`, ...revoke(privileges, [], object, to, cascade), 'reset role'),
      ),
    ),
    ...(own.length === 0
      ? []
      : [
          difference(
            { expected: null, found: words(own) },
            bySql(...revoke(own, expected, object, to, cascade)),
          ),
        ]),
  ];
}

/** `grant select (id, status), insert on … to …` */
export function grant(privileges: readonly string[], object: string, grantee: string): string {
  return `grant ${words(privileges)} on ${target(object)} to ${grantee}`;
}

/** To revoke a privilege on a table revokes it on each column, too, where it may have been granted. */
function revoke(
  extra: readonly string[],
  expected: readonly string[],
  object: string,
  grantee: string,
  cascade: string,
): string[] {
  const options = extra.filter((privilege) => privilege.startsWith(option));
  const plain = extra.filter((privilege) => !options.includes(privilege));
  const columns = expected.filter((privilege) => plain.includes(privilege.replace(/ \(.*$/s, '')));
  const statement = (kind: string, privileges: readonly string[]) =>
    `revoke ${kind}${words(privileges)} on ${target(object)} from ${grantee}${cascade}`;
  return [
    ...(plain.length > 0 ? [statement('', plain)] : []),
    ...(columns.length > 0 ? [grant(columns, object, grantee)] : []),
    ...(options.length > 0
      ? [
          statement(
            option,
            options.map((privilege) => privilege.slice(option.length)),
          ),
        ]
      : []),
  ];
}

/** `select (id, status), insert`: columns together. */
function words(privileges: readonly string[]): string {
  const columns = new Map<string, string[]>();
  for (const privilege of privileges) {
    const [, of = privilege, column] = /^([a-z ]+) \((.*)\)$/s.exec(privilege) ?? [];
    columns.set(of, [...(columns.get(of) ?? []), ...(column === undefined ? [] : [column])]);
  }
  return [...columns]
    .map(([privilege, named]) => (named.length === 0 ? privilege : `${privilege} (${named.join(', ')})`))
    .join(', ');
}

function target(object: string): string {
  return object.startsWith('table ') ? nameOf(object) : object;
}
