// How to repair what tables consist of: see repair.ts.

import { escapeControlCharacters } from '../statements/quoting.js';
import { commentStatement } from './comments.js';
import {
  asSuperuser,
  byHand,
  bySql,
  bySqlIf,
  type Change,
  type ExpectedSibling,
  nameOf,
  notOurs,
  type Repair,
  splitName,
  unlessNeeded,
} from './difference.js';
import type { Installation } from './installation.js';
import type { State } from './item.js';

/** An index's name without its schema, as SQL requires where it is created or renamed. */
export function bareName(name: string): string {
  return splitName(name)[1];
}

/** The state of an item whose SQL is as expected; null if its SQL differs or it is missing. */
export function stateIfSqlMatches({ expected, found }: Pick<Change, 'expected' | 'found'>): State | null {
  if (expected === null || found === null || expected.sql !== found.sql) return null;
  return found.state ?? {};
}

export function repairTable(change: Change): Repair {
  const { name, expected, found } = change;
  if (found === null) {
    return byHand('Check whether it was renamed. If not, its rows are lost: restore them from a backup.');
  }
  const {
    isUnlogged,
    inheritsFrom = [],
    partitionOf,
    withoutAutovacuum = [],
    hasNoReplicaIdentity,
    ...shape
  } = stateIfSqlMatches(change) ?? { sql: found.sql };
  if (JSON.stringify(shape) !== JSON.stringify(expected?.state ?? {})) {
    return byHand('It cannot be altered in place: create a new table beside this one, and move the rows.');
  }
  return bySql(
    isUnlogged ? `alter table ${name} set logged` : null,
    ...inheritsFrom.map((parent) => `alter table ${name} no inherit ${parent}`),
    partitionOf === undefined ? null : `alter table ${partitionOf} detach partition ${name}`,
    ...withoutAutovacuum.map((parameter) => `alter table ${name} reset (${parameter})`),
    hasNoReplicaIdentity ? `alter table ${name} replica identity default` : null,
  );
}

export function repairSequence(change: Change): Repair {
  const { name, expected, found } = change;
  if (expected === null) return byHand(notOurs);
  if (found === null) {
    return byHand('Make its column an identity column again, starting above its highest value.');
  }
  const isUnlogged = found.state?.isUnlogged === true;
  return bySql(
    found.sql === expected.sql ? null : `alter sequence ${name} ${expected.sql}`,
    isUnlogged ? `alter sequence ${name} set logged` : null,
  );
}

export function repairColumn(change: Change, sibling: ExpectedSibling): Repair {
  const { object, name, expected, found } = change;
  const column = `alter table ${nameOf(object)} alter column ${name}`;
  if (expected === null) {
    return byHand('It is not part of this schema: drop it once nobody needs its data.');
  }
  if (found === null) {
    const expression = sibling('default', name)?.sql;
    const isFilled = expression !== undefined || expected.sql.includes(' generated ');
    if (expected.sql.endsWith(' not null') && !isFilled) {
      return byHand('Check whether it was renamed. If not, its data is lost: restore it from a backup.');
    }
    const filling = expression === undefined ? '' : ` default ${expression}`;
    return bySql(
      `alter table ${nameOf(object)} add column ${name} ${expected.sql}${filling}`,
      commentStatement(change, sibling),
    );
  }
  if (found.sql === `${expected.sql} not null`) return bySql(`${column} drop not null`);
  if (`${found.sql} not null` === expected.sql || stateIfSqlMatches(change)?.isNotValid) {
    return bySqlOnceMet(`select * from ${nameOf(object)} where ${name} is null`, `${column} set not null`);
  }
  if (found.sql === expected.sql.replace(' always as identity', ' by default as identity')) {
    return bySql(`${column} set generated always`);
  }
  return byHand('Changing it back may rewrite the table or lose data: check its values first.');
}

export function repairConstraint(change: Change, { schema }: Installation, sibling: ExpectedSibling): Repair {
  const { object, name, expected, found } = change;
  const table = nameOf(object);
  const alter = `alter table ${table}`;
  if (expected === null) return bySqlIf(unlessNeeded, `${alter} drop constraint ${name}`);
  const comment = commentStatement(change, sibling);
  // `not valid` and `validate` check the rows without blocking writers. On the log that works only for CHECKs.
  const isInTwoSteps = /^(FOREIGN KEY|CHECK)/.test(expected.sql) && !isPartitioned(table, sibling);
  const add = `add constraint ${name} ${escapeControlCharacters(expected.sql)}${isInTwoSteps ? ' not valid' : ''}`;
  const validate = `${alter} validate constraint ${name}`;
  const check = /^CHECK \((.*)\)(?: NO INHERIT)?$/s.exec(expected.sql)?.[1];
  const inTheWay =
    check === undefined ? null : `select * from ${table} where not (${escapeControlCharacters(check)})`;
  if (found === null)
    return bySqlOnceMet(inTheWay, `${alter} ${add}`, isInTwoSteps ? validate : null, comment);
  // The partition has its own constraint of this name; its copy of the log's constraint has another name.
  if (found.namesakes?.some(({ sql }) => sql === expected.sql)) {
    return bySql(`${alter} drop constraint ${name}`);
  }
  const state = stateIfSqlMatches(change);
  // To rebuild the log's index rebuilds those of its months, and leaves the log's invalid: the constraint is made again.
  if (state?.invalidIndex !== undefined && !isPartitioned(table, sibling)) {
    return bySql(reindexStatement(change));
  }
  if (state?.disabledTriggersOf !== undefined) {
    const isOurs = (disabled: string) =>
      disabled.startsWith(`${schema}.crm_`) || disabled.startsWith(`${schema}.contact_external_`);
    const hosts = state.disabledTriggersOf.filter((disabled) => !isOurs(disabled));
    const statements = state.disabledTriggersOf
      .filter(isOurs)
      .map((disabled) => `alter table ${disabled} enable trigger all`);
    if (hosts.length === 0) return bySqlIf(asSuperuser, ...statements, state.isNotValid ? validate : null);
    return bySqlIf(
      `Enable the internal triggers of ${hosts.join(', ')}, which is a host table.${statements.length === 0 ? '' : ' Then, as a superuser:'}`,
      ...statements,
    );
  }
  if (state?.isNotValid) return bySqlOnceMet(inTheWay, validate);
  return bySqlOnceMet(
    inTheWay,
    `${alter} drop constraint ${name}, ${add}`,
    isInTwoSteps ? validate : null,
    comment,
  );
}

/**
 * A repair that fails while rows are in its way, so the query that finds them comes first.
 *
 * @param query null if it cannot be told
 */
function bySqlOnceMet(query: string | null, ...statements: (string | null)[]): Repair {
  if (query === null) return bySql(...statements);
  return bySqlIf(
    'If the query finds rows, correct them first: until then, the rest fails.',
    query,
    ...statements,
  );
}

/** An index of the log can be neither created nor dropped concurrently: writers wait. */
export function repairIndex(change: Change, sibling: ExpectedSibling): Repair {
  const { object, name, expected, found } = change;
  const table = nameOf(object);
  const concurrently = isPartitioned(table, sibling) ? '' : 'concurrently ';
  const drop = `drop index ${concurrently}${name}`;
  if (expected === null) return bySqlIf(unlessNeeded, drop);
  if (expected.sql === 'attached' && found === null) {
    return byHand(`Create it on the partition, then attach it: alter index ${name} attach partition …`);
  }
  const rebuild = reindexStatement(change);
  if (rebuild !== null && !isPartitioned(table, sibling)) return bySql(rebuild);
  const [, unique = '', method = ''] = /^(unique )?(.*)$/s.exec(expected.sql) ?? [];
  const create = `create ${unique}index ${concurrently}${bareName(name)} on ${table} using ${escapeControlCharacters(method)}`;
  return bySql(found === null ? null : drop, create, commentStatement(change, sibling));
}

function isPartitioned(table: string, sibling: ExpectedSibling): boolean {
  return sibling('table', table)?.state?.partitionedBy !== undefined;
}

/** The statement that rebuilds an index which is as expected, but invalid; null for any other. */
export function reindexStatement(change: Pick<Change, 'expected' | 'found'>): string | null {
  const index = stateIfSqlMatches(change)?.invalidIndex;
  return index === undefined ? null : `reindex index concurrently ${index}`;
}
