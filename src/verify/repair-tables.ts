// How what tables consist of can be mended: see mend.ts.

import { type Beside, commentOn } from './comments.js';
import {
  byHand,
  bySql,
  bySqlIf,
  type Change,
  nameOf,
  printable,
  type Repair,
  superuser,
  unlessNeeded,
} from './difference.js';
import type { Installation } from './items.js';

/** Gives something its name back. */
export function rename({ object, kind, name }: Change, from: string): Repair {
  const table = nameOf(object);
  switch (kind) {
    case 'index':
      return bySql(`alter index ${from} rename to ${bareName(name)}`);
    case 'constraint':
      return bySql(`alter table ${table} rename constraint ${from} to ${name}`);
    default:
      return bySql(`alter ${kind} ${from} on ${table} rename to ${name}`);
  }
}

/** Its name is qualified where it stands alone, and may not be where it is made or renamed. */
function bareName(name: string): string {
  return name.slice(name.indexOf('.') + 1);
}

export function mendColumn({ object, kind, name, expected, found }: Change, beside: Beside): Repair {
  const table = nameOf(object);
  if (expected === null) {
    return byHand('It is not of this schema: drop it once nobody needs what is in it.');
  }
  const ofDefault = beside('default', name);
  if (found === null) {
    const isFilled = ofDefault !== undefined || String(expected).includes(' generated ');
    if (String(expected).endsWith(' not null') && !isFilled) {
      return byHand(
        'Look whether it was only renamed; else what was in it is gone: restore it from a backup.',
      );
    }
    const filling = ofDefault === undefined ? '' : ` default ${ofDefault}`;
    return bySql(
      `alter table ${table} add column ${name} ${expected}${filling}`,
      commentOn({ object, kind, name }, beside),
    );
  }
  if (found === `${expected} not null`) {
    return bySql(`alter table ${table} alter column ${name} drop not null`);
  }
  if (`${found} not null` === expected || found === `${expected} (not valid)`) {
    return bySql(`alter table ${table} alter column ${name} set not null`);
  }
  if (found === String(expected).replace(' always as identity', ' by default as identity')) {
    return bySql(`alter table ${table} alter column ${name} set generated always`);
  }
  return byHand('To change it back may rewrite the table or lose what is in it: look at its values first.');
}

export function mendConstraint(
  { object, name, expected, found }: Change,
  { schema }: Installation,
  beside: Beside,
  comment: string | null,
): Repair {
  const table = nameOf(object);
  const alter = `alter table ${table}`;
  if (expected === null) return bySqlIf(unlessNeeded, `${alter} drop constraint ${name}`);
  // What is in the table is read without a lock that writers wait for; of the log, only CHECKs could be.
  const isApart = /^(FOREIGN KEY|CHECK)/.test(String(expected)) && !isPartitioned(table, beside);
  const add = `add constraint ${name} ${printable(String(expected))}${isApart ? ' not valid' : ''}`;
  const validate = isApart ? `${alter} validate constraint ${name}` : null;
  if (found === null) return bySql(`${alter} ${add}`, validate, comment);
  // There the log's goes by another name.
  const isBeside = [`${expected}; `, `; ${expected}`].some((both) => String(found).includes(both));
  if (isBeside) return bySql(`${alter} drop constraint ${name}`);
  const state = stateOf(expected, found);
  const [, disabled] = /^ \(not enforced, because of triggers of (.*)\)$/s.exec(state) ?? [];
  if (state === ' NOT VALID') return bySql(`${alter} validate constraint ${name}`);
  const rebuild = reindex({ expected, found });
  if (rebuild !== null) return bySql(rebuild);
  if (disabled !== undefined) {
    return disabled.startsWith(`${schema}.crm_`) || disabled === `${schema}.contact_external_ids`
      ? bySqlIf(superuser, `alter table ${disabled} enable trigger all`)
      : byHand(`Enable the internal triggers of ${disabled}, which is the host's.`);
  }
  return bySql(`${alter} drop constraint ${name}, ${add}`, validate, comment);
}

/** Of the log, an index can be neither made nor dropped concurrently: its writers wait meanwhile. */
export function mendIndex(change: Change, beside: Beside, comment: string | null): Repair {
  const { object, name, expected, found } = change;
  const table = nameOf(object);
  const concurrently = isPartitioned(table, beside) ? '' : 'concurrently ';
  const drop = `drop index ${concurrently}${name}`;
  if (expected === null) return bySqlIf(unlessNeeded, drop);
  if (expected === 'attached' && found === null) {
    return byHand(`Make one on the partition, and attach it: alter index ${name} attach partition …`);
  }
  const rebuild = reindex(change);
  if (rebuild !== null && !isPartitioned(table, beside)) return bySql(rebuild);
  const [, unique = '', method = ''] = /^(unique )?(.*)$/s.exec(String(expected)) ?? [];
  const create = `create ${unique}index ${concurrently}${bareName(name)} on ${table} using ${printable(method)}`;
  return bySql(found === null ? null : drop, create, comment);
}

function isPartitioned(table: string, beside: Beside): boolean {
  return String(beside('table', table)).includes(' partitioned ');
}

/** The statement that builds an index anew which is invalid, and otherwise as it should be. */
export function reindex({ expected, found }: Pick<Change, 'expected' | 'found'>): string | null {
  const [, invalid] = /^ \(invalid: (.*)\)$/s.exec(stateOf(expected, found)) ?? [];
  return invalid === undefined ? null : `reindex index concurrently ${invalid}`;
}

/** What is said of something that is otherwise as it should be: ` NOT VALID`. */
export function stateOf(expected: Change['expected'], found: Change['found']): string {
  return String(found).startsWith(String(expected)) ? String(found).slice(String(expected).length) : '';
}
