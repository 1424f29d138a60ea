import { code, link, tableOf, text } from './markdown.js';
import type { Privilege, Schema } from './schema.js';

/** The privileges of all but the owner: a row for each table and function, a column for each role. */
export function privileges({ tables, functions, roles, privileges }: Schema): string[] {
  const grantees = [...new Set(privileges.map(({ role }) => role))].sort(
    (one, other) => Number(other === 'public') - Number(one === 'public') || (one < other ? -1 : 1),
  );
  const ours = tables.filter(({ isHost }) => !isHost).map(({ name }) => name);
  // A partition has privileges only if somebody granted them.
  const partitions = granted(privileges, 'table').filter(
    (name) => !tables.some((table) => table.name === name),
  );
  const row = (name: string, kind: Privilege['objectKind'], label: string) => [
    label,
    ...grantees.map((role) => {
      const held = privileges.filter(
        (privilege) => privilege.object === name && privilege.objectKind === kind && privilege.role === role,
      );
      const columns = tables.find((table) => table.name === name)?.columns.map((column) => column.name) ?? [];
      return held.map((privilege) => describePrivilege(privilege, columns)).join(', ') || '–';
    }),
  ];
  return [
    `The owner has every privilege. Other roles have those listed here${tables.some(({ policies }) => policies.length > 0) ? '; on a table with policies, only for the rows that a policy allows' : ''}.`,
    ...(roles.length === 0
      ? []
      : [roles.map(({ name, comment }) => `- ${code(name)}: ${text(comment ?? 'no comment')}`).join('\n')]),
    tableOf(
      ['object', ...grantees.map((role) => (role === 'public' ? 'everyone' : code(role)))],
      [
        ...ours.map((name) => row(name, 'table', link(name))),
        ...partitions.map((name) => row(name, 'table', code(name))),
        ...functions.map(({ name }) => row(name, 'function', link(name))),
      ],
    ),
  ];
}

function granted(privileges: Privilege[], kind: Privilege['objectKind']): string[] {
  return [...new Set(privileges.filter(({ objectKind }) => objectKind === kind).map(({ object }) => object))];
}

/** A privilege, and the columns it is limited to, or if that is shorter, those it excludes. */
function describePrivilege({ privilege, columns }: Privilege, tableColumns: string[]): string {
  if (columns === null) return privilege;
  const others = tableColumns.filter((column) => !columns.includes(column));
  return others.length < columns.length
    ? `${privilege} (all but ${others.map(code).join(', ')})`
    : `${privilege} (${columns.map(code).join(', ')})`;
}
