import type { Item, Place } from './catalog.js';
import { byHand, bySql, type Change, literal, type Mend, nameOf, printable } from './difference.js';
import { grant } from './privileges.js';

/** Finds what is expected beside a change: in the same object, by kind and name. */
export type Beside = (kind: Item['kind'], name: string) => Item['definition'] | undefined;

const foreign = 'It is not of this schema: once you know whose it is, drop it or rename it.';

const detachedMonth =
  'A part of the log that is detached: look what is in it. Attach it again, or, to keep it apart, rename it.';

/** How a change other than one of privileges can be mended, without a row being lost. */
export function mend(change: Change, place: Place, beside: Beside): Mend {
  const { object, kind, name, expected, found } = change;
  const table = nameOf(object);
  const comment = commentOn(change, beside);
  switch (kind) {
    case 'migration':
      return byHand('Run the migrations first.');
    case 'role':
      return found === null
        ? bySql(`create role ${name} nologin`, `grant usage on schema ${place.schema} to ${name}`)
        : bySql(`alter role ${name} ${expected}`);
    case 'schema usage':
      return bySql(`grant usage on schema ${place.schema} to ${name}`);
    case 'schema creation':
      return bySql(
        found === 'granted'
          ? `revoke create on ${object} from ${name} cascade`
          : `alter ${object} owner to ${place.owner}`,
      );
    case 'setting':
      return bySql(`alter ${object} reset ${name}`);
    case 'period':
      return byHand(
        `Nothing of ${name} is dropped meanwhile. Say for how long it is kept: insert into ${table} (subject, keep_days) values (${literal(name)}, …)`,
      );
    case 'membership':
      return bySql(`revoke ${String(found).replace(/^through /, '')} from ${nameOf(object)}`);
    case 'host index':
      return bySql(
        reindex(change) ??
          `create unique index concurrently contacts_organisation_id_id_key on ${place.contacts} (organisation_id, id)`,
      );
    case 'function':
      return mendFunction(change, place, beside);
    case 'type':
      return byHand(foreign);
    case 'table':
      if (expected === null) return byHand(/\.crm_sync_log_\w+$/.test(name) ? detachedMonth : foreign);
      if (found === `unlogged ${expected}`) return bySql(`alter table ${name} set logged`);
      return byHand(
        found === null
          ? 'Its rows are gone with it: restore them from a backup.'
          : 'Nothing short makes it what it was: make it anew beside this one, and move its rows.',
      );
    case 'sequence':
      if (expected === null) return byHand(foreign);
      return found === null
        ? byHand('Make its column an identity again that begins after its greatest value.')
        : bySql(`alter sequence ${name} ${expected}`);
    case 'column':
      return mendColumn(change, beside);
    case 'default': {
      const action = expected === null ? 'drop default' : `set default ${expected}`;
      return bySql(`alter table ${table} alter column ${name} ${action}`);
    }
    case 'constraint':
      return mendConstraint(change, place, comment);
    case 'index':
      return mendIndex(change, beside, comment);
    case 'trigger': {
      if (expected === null) return bySql(`drop trigger ${name} on ${table}`);
      return stateOf(expected, found).startsWith(' (')
        ? bySql(`alter table ${table} enable trigger ${name}`)
        : bySql(`create or replace trigger ${name} ${expected}`, comment);
    }
    case 'rule':
      return bySql(`drop rule ${name} on ${table}`);
    case 'policy': {
      const drop = found === null ? null : `drop policy ${name} on ${table}`;
      return expected === null
        ? bySql(drop)
        : bySql(drop, `create policy ${name} on ${table} ${expected}`, comment);
    }
    case 'row-level security': {
      const actions = `${expected === 'off' ? 'disable' : 'enable'} row level security, no force row level security`;
      return bySql(`alter table ${table} ${actions}`);
    }
    case 'owner':
      return bySql(`alter ${object} owner to ${place.owner}`);
    case 'comment':
      return bySql(
        `comment on ${commented(object, name)} is ${expected === null ? 'null' : literal(String(expected))}`,
      );
    case 'privileges':
      throw new Error('Privileges are told apart one by one.');
  }
}

function mendFunction({ object, name, expected, found }: Change, place: Place, beside: Beside): Mend {
  if (expected === null) return byHand(foreign);
  // As PostgreSQL writes it: the first line has the parameters, the second the result. Neither can be replaced.
  const [parameters, result] = expected;
  if (found !== null && (found[0] !== parameters || found[1] !== result)) {
    return byHand(
      'Its parameters or its result are others: drop it with what depends on it, and make both anew.',
    );
  }
  const create = [expected].flat().join('\n');
  if (found !== null) return bySql(create);
  const grantees = ['public', 'crm_app', 'crm_worker', 'crm_reader'];
  const granted = grantees.flatMap((grantee) => {
    const privileges = beside('privileges', grantee);
    return privileges === undefined ? [] : [grant([privileges].flat(), object, grantee)];
  });
  return bySql(
    create,
    `alter ${object} owner to ${place.owner}`,
    ...(beside('privileges', 'public') === undefined ? [`revoke execute on ${object} from public`] : []),
    ...granted,
    commentOn({ object, kind: 'function', name }, beside),
  );
}

function mendColumn({ object, kind, name, expected, found }: Change, beside: Beside): Mend {
  const table = nameOf(object);
  if (expected === null) {
    return byHand('It is not of this schema: drop it once nobody needs what is in it.');
  }
  const ofDefault = beside('default', name);
  if (found === null) {
    const isFilled = ofDefault !== undefined || String(expected).includes(' generated ');
    if (String(expected).endsWith(' not null') && !isFilled) {
      return byHand('What was in it is gone: restore it from a backup.');
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
  return byHand('To change it back may rewrite the table or lose what is in it: look at its values first.');
}

function mendConstraint(
  { object, name, expected, found }: Change,
  { schema }: Place,
  comment: string | null,
): Mend {
  const table = nameOf(object);
  const alter = `alter table ${table}`;
  if (expected === null) return bySql(`${alter} drop constraint ${name}`);
  const add = `add constraint ${name} ${printable(String(expected))}`;
  if (found === null) return bySql(`${alter} ${add}`, comment);
  const state = stateOf(expected, found);
  const [, disabled] = /^ \(not enforced, because of triggers of (.*)\)$/s.exec(state) ?? [];
  if (state === ' NOT VALID') return bySql(`${alter} validate constraint ${name}`);
  const rebuild = reindex({ expected, found });
  if (rebuild !== null) return bySql(rebuild);
  if (disabled !== undefined) {
    return disabled.startsWith(`${schema}.crm_`) || disabled === `${schema}.contact_external_ids`
      ? { ...bySql(`alter table ${disabled} enable trigger all`), advice: 'It takes a superuser:' }
      : byHand(`Enable the internal triggers of ${disabled}, which is the host's.`);
  }
  return bySql(`${alter} drop constraint ${name}, ${add}`, comment);
}

/** Of the log, an index can be neither made nor dropped concurrently: its writers wait meanwhile. */
function mendIndex(change: Change, beside: Beside, comment: string | null): Mend {
  const { object, name, expected, found } = change;
  const table = nameOf(object);
  const isPartitioned = String(beside('table', table)).includes(' partitioned ');
  const concurrently = isPartitioned ? '' : 'concurrently ';
  const drop = `drop index ${concurrently}${name}`;
  if (expected === null) return bySql(drop);
  if (expected === 'attached' && found === null) {
    return byHand(`Make one on the partition, and attach it: alter index ${name} attach partition …`);
  }
  const rebuild = reindex(change);
  if (rebuild !== null && !isPartitioned) return bySql(rebuild);
  const [, unique = '', method = ''] = /^(unique )?(.*)$/s.exec(String(expected)) ?? [];
  // Its name is qualified where it stands alone, and may not be where it is made.
  const bare = name.slice(name.indexOf('.') + 1);
  const create = `create ${unique}index ${concurrently}${bare} on ${table} using ${printable(method)}`;
  return bySql(found === null ? null : drop, create, comment);
}

/** The statement that builds an index anew which is invalid, and otherwise as it should be. */
function reindex({ expected, found }: Pick<Change, 'expected' | 'found'>): string | null {
  const [, invalid] = /^ \(invalid: (.*)\)$/s.exec(stateOf(expected, found)) ?? [];
  return invalid === undefined ? null : `reindex index concurrently ${invalid}`;
}

/** What is said of something that is otherwise as it should be: ` NOT VALID`. */
function stateOf(expected: Change['expected'], found: Change['found']): string {
  return String(found).startsWith(String(expected)) ? String(found).slice(String(expected).length) : '';
}

/** The statement that comments on something as it should be, if it should. */
function commentOn({ object, kind, name }: Pick<Change, 'object' | 'kind' | 'name'>, beside: Beside) {
  const text = beside('comment', `${kind} ${name}`);
  return text === undefined
    ? null
    : `comment on ${commented(object, `${kind} ${name}`)} is ${literal(String(text))}`;
}

/** What a comment is on, in SQL: `column public.crm_connections.status`. */
export function commented(object: string, target: string): string {
  const [kind = '', name = ''] = target.split(/ (.*)/s);
  if (kind === 'column') return `column ${nameOf(object)}.${name}`;
  return ['constraint', 'trigger', 'policy'].includes(kind) ? `${target} on ${nameOf(object)}` : target;
}
