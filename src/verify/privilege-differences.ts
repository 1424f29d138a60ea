import type { Grant } from '../catalog/grant-facts.js';
import {
  asMemberOf,
  bySql,
  bySqlIf,
  type Change,
  type Difference,
  nameOf,
  type Repair,
} from './difference.js';
import type { Installation } from './installation.js';

/** One difference for the missing privileges of a grantee, and one for the unexpected ones of each grantor. */
export function privilegeDifferences(change: Change, installation: Installation): Difference[] {
  const { object, kind, name: grantee } = change;
  const expected = change.expected?.grants ?? [];
  const found = change.found?.grants ?? [];
  const missing = expected.filter((grant) => !found.some((other) => isSameGrant(grant, other)));
  const unexpected = found.flatMap((grant): Unexpected[] => {
    if (!expected.some((other) => isSameGrant(grant, other))) return [{ ...grant, isOptionOnly: false }];
    return grant.isGrantable ? [{ ...grant, isOptionOnly: true }] : [];
  });
  const difference = (drift: Pick<Difference, 'expected' | 'found'>, repair: Repair): Difference => ({
    kind,
    name: `${grantee} on ${object}`,
    ...drift,
    ...repair,
  });
  const role = grantee === 'the owner' ? installation.owner : grantee;
  // A grantee with grant option may have granted it to others.
  const cascade = found.some(({ isGrantable }) => isGrantable) ? ' cascade' : '';
  const byGrantor = new Map<string | null, Unexpected[]>();
  for (const grant of unexpected) {
    byGrantor.set(grant.grantor, [...(byGrantor.get(grant.grantor) ?? []), grant]);
  }
  const byOwner = byGrantor.get(null) ?? [];
  byGrantor.delete(null);
  return [
    ...(missing.length === 0
      ? []
      : [
          difference(
            { expected: grantList(missing), found: null },
            bySql(grantStatement(missing, object, role)),
          ),
        ]),
    // Privileges that others granted come first: those grantors must still have the right to revoke them.
    ...[...byGrantor].map(([grantor, grants]) =>
      difference(
        { expected: null, found: `${describeUnexpected(grants)}, granted by ${grantor}` },
        bySqlIf(
          asMemberOf(String(grantor)),
          `set role ${grantor}`,
          ...revokeStatements(grants, [], object, role, cascade),
          'reset role',
        ),
      ),
    ),
    ...(byOwner.length === 0
      ? []
      : [
          difference(
            { expected: null, found: describeUnexpected(byOwner) },
            bySql(...revokeStatements(byOwner, expected, object, role, cascade)),
          ),
        ]),
  ];
}

interface Unexpected extends Grant {
  /** Whether only its grant option is unexpected. */
  isOptionOnly: boolean;
}

function isSameGrant(one: Grant, other: Grant): boolean {
  return one.privilege === other.privilege && one.column === other.column && one.grantor === other.grantor;
}

/** `grant select (id, status), insert on … to …` */
export function grantStatement(grants: readonly Grant[], object: string, grantee: string): string {
  return `grant ${grantList(grants)} on ${target(object)} to ${grantee}`;
}

/** Revoking a privilege on a table also revokes it on its columns: those expected are granted again. */
function revokeStatements(
  unexpected: readonly Unexpected[],
  expected: readonly Grant[],
  object: string,
  grantee: string,
  cascade: string,
): string[] {
  const whole = unexpected.filter(({ isOptionOnly }) => !isOptionOnly);
  const options = unexpected.filter(({ isOptionOnly }) => isOptionOnly);
  const lost = expected.filter(({ privilege }) =>
    whole.some((other) => other.privilege === privilege && other.column === null),
  );
  const from = `on ${target(object)} from ${grantee}${cascade}`;
  return [
    ...(whole.length > 0 ? [`revoke ${grantList(whole)} ${from}`] : []),
    ...(lost.length > 0 ? [grantStatement(lost, object, grantee)] : []),
    ...(options.length > 0 ? [`revoke grant option for ${grantList(options)} ${from}`] : []),
  ];
}

/** `select (id, status), grant option for insert` */
function describeUnexpected(grants: readonly Unexpected[]): string {
  const options = grants.filter(({ isOptionOnly }) => isOptionOnly);
  const whole = grants.filter(({ isOptionOnly }) => !isOptionOnly);
  return [
    ...(whole.length > 0 ? [grantList(whole)] : []),
    ...(options.length > 0 ? [`grant option for ${grantList(options)}`] : []),
  ].join(', ');
}

/** `select (id, status), insert`: the columns of a privilege together. */
function grantList(grants: readonly Grant[]): string {
  const columns = new Map<string, string[]>();
  for (const { privilege, column } of grants) {
    columns.set(privilege, [...(columns.get(privilege) ?? []), ...(column === null ? [] : [column])]);
  }
  return [...columns]
    .map(([privilege, named]) => (named.length === 0 ? privilege : `${privilege} (${named.join(', ')})`))
    .join(', ');
}

function target(object: string): string {
  return /^(table|view) /.test(object) ? nameOf(object) : object;
}
