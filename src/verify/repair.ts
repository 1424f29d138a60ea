import { literal } from '../statements/quoting.js';
import { type Beside, commented, commentOn } from './comments.js';
import {
  byHand,
  bySql,
  bySqlIf,
  type Change,
  identifier,
  nameOf,
  type Repair,
  superuser,
  unlessNeeded,
} from './difference.js';
import type { Installation } from './items.js';
import { grant, partGrantor } from './privileges.js';
import { mendColumn, mendConstraint, mendIndex, reindex, rename, stateOf } from './repair-tables.js';

const ofOwners = 'It takes a superuser, or a member of both owners:';

const foreign = 'It is not of this schema: once you know whose it is, drop it or rename it.';

const inheriting = ', inheriting from ';

const detachedMonth =
  'A part of the log that is detached: look what is in it. Attach it again, or, to keep it apart, rename it.';

/** How a change other than one of privileges can be mended, without a row being lost. */
export function repair(change: Change, place: Installation, beside: Beside): Repair {
  const { object, kind, name, expected, found } = change;
  const table = nameOf(object);
  const comment = commentOn(change, beside);
  if (change.renamed !== undefined) return rename(change, change.renamed);
  switch (kind) {
    case 'migration':
      return byHand(
        expected === null ? 'Use the version of the package that brought it.' : 'Run the migrations first.',
      );
    case 'role':
      return found === null
        ? bySql(`create role ${name} nologin`, `grant usage on schema ${place.schema} to ${name}`)
        : bySqlIf(
            /(^| )(superuser|bypassrls|replication)/.test(String(found))
              ? superuser
              : 'It takes a superuser, or who may alter it:',
            `alter role ${name} ${unlike(String(expected), String(found))}`,
          );
    case 'schema usage':
      return bySql(`grant usage on schema ${place.schema} to ${name}`);
    case 'schema creation': {
      if (found === 'as its owner') return bySqlIf(ofOwners, `alter ${object} owner to ${place.owner}`);
      const [, grantor] = partGrantor(String(found));
      const revoke = `revoke create on ${object} from ${name} cascade`;
      return bySql(...(grantor === undefined ? [revoke] : [`set role ${grantor}`, revoke, 'reset role']));
    }
    case 'setting':
      return object === 'the server'
        ? byHand(
            `Take it out of the server's configuration, wherever it is (alter system reset ${name}, or its files), and reload: select pg_reload_conf()`,
          )
        : bySqlIf(
            name === 'session_replication_role'
              ? superuser
              : `It takes a superuser, or who may alter ${object}:`,
            `alter ${object} reset ${name}`,
          );
    case 'parameter':
      return bySqlIf(superuser, `revoke ${[found].flat().join(', ')} on ${object} from ${name}`);
    case 'period':
      return byHand(
        `Nothing of ${name} is dropped meanwhile. Say for how long it is kept: insert into ${table} (subject, keep_days) values (${literal(name)}, …)`,
      );
    case 'membership': {
      const [granted, grantor] = partGrantor(String(found));
      return bySqlIf(
        'It takes a superuser, or who may grant it:',
        `revoke ${granted.replace(/^through /, '')} from ${nameOf(object)}${grantor === undefined ? '' : ` granted by ${grantor}`}`,
      );
    }
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
      if (expected === null && name === `${place.schema}.crm_schema_migrations`) {
        return bySqlIf(
          'If it is the one in which migrations are counted:',
          `alter table ${name} owner to ${place.owner}`,
        );
      }
      if (expected === null) return byHand(/\.crm_sync_log_\w+$/.test(name) ? detachedMonth : foreign);
      if (found === `unlogged ${expected}`) return bySql(`alter table ${name} set logged`);
      if (stateOf(expected, found).startsWith(inheriting)) {
        const qualified = new RegExp(`(?:(?:${identifier})\\.)?(?:${identifier})`, 'gs');
        const parents = stateOf(expected, found).slice(inheriting.length).match(qualified) ?? [];
        return bySql(...parents.map((parent) => `alter table ${name} no inherit ${parent}`));
      }
      return byHand(
        found === null
          ? 'Look whether it was only renamed; else its rows are gone with it: restore them from a backup.'
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
      return mendConstraint(change, place, beside, comment);
    case 'index':
      return mendIndex(change, beside, comment);
    case 'trigger': {
      if (expected === null) return bySqlIf(unlessNeeded, `drop trigger ${name} on ${table}`);
      return stateOf(expected, found).startsWith(' (')
        ? bySql(`alter table ${table} enable trigger ${name}`)
        : bySql(`create or replace trigger ${name} ${expected}`, comment);
    }
    case 'rule':
      return bySqlIf(unlessNeeded, `drop rule ${name} on ${table}`);
    case 'policy': {
      const drop = found === null ? null : `drop policy ${name} on ${table}`;
      return expected === null
        ? bySqlIf(unlessNeeded, drop)
        : bySql(drop, `create policy ${name} on ${table} ${expected}`, comment);
    }
    case 'row-level security': {
      const actions = `${expected === 'off' ? 'disable' : 'enable'} row level security, no force row level security`;
      return bySql(`alter table ${table} ${actions}`);
    }
    case 'owner':
      return bySqlIf(ofOwners, `alter ${object} owner to ${place.owner}`);
    case 'comment':
      return bySql(
        `comment on ${commented(object, name)} is ${expected === null ? 'null' : literal(String(expected))}`,
      );
    case 'privileges':
      throw new Error('Privileges are told apart one by one.');
  }
}

/** The words of a list that another has not. */
function unlike(words: string, others: string): string {
  const known = others.split(' ');
  return words
    .split(' ')
    .filter((word) => !known.includes(word))
    .join(' ');
}

function mendFunction(
  { object, name, expected, found }: Change,
  place: Installation,
  beside: Beside,
): Repair {
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
