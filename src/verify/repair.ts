import { quoteLiteral } from '../statements/quoting.js';
import { commentStatement, commentTarget } from './comments.js';
import {
  asSuperuser,
  byHand,
  bySql,
  bySqlIf,
  type Change,
  type ExpectedSibling,
  nameOf,
  type Repair,
  unlessNeeded,
} from './difference.js';
import type { Installation } from './installation.js';
import { grantStatement } from './privilege-differences.js';
import {
  reindexStatement,
  repairColumn,
  repairConstraint,
  repairIndex,
  repairName,
  repairTable,
  stateIfSqlMatches,
} from './repair-tables.js';

const asBothOwners = 'Run as a superuser, or as a member of both owners:';

const notOurs = 'It is not part of this schema: find its owner, then drop or rename it.';

const detachedPartition =
  'It may be a detached partition of the log: check what is in it. Attach it again, or rename it to keep it.';

/** How to repair a change, other than one of privileges, without losing a row. */
export function repair(change: Change, installation: Installation, sibling: ExpectedSibling): Repair {
  const { object, kind, name, expected, found } = change;
  const table = nameOf(object);
  if (change.foundAs !== undefined) return repairName(change, change.foundAs);
  switch (kind) {
    case 'migration':
      return byHand(
        expected === null ? 'Use the version of the package that has it.' : 'Run the migrations first.',
      );
    case 'role':
      return found === null
        ? bySql(`create role ${name} nologin`, `grant usage on schema ${installation.schema} to ${name}`)
        : bySqlIf(
            /(^| )(superuser|bypassrls|replication)/.test(found.sql)
              ? asSuperuser
              : 'Run as a superuser, or as a role that may alter it:',
            `alter role ${name} ${attributesToSet(expected?.sql ?? '', found.sql)}`,
          );
    case 'schema usage':
      return bySql(`grant usage on schema ${installation.schema} to ${name}`);
    case 'schema creation': {
      if (found?.sql === 'as its owner') {
        return bySqlIf(asBothOwners, `alter ${object} owner to ${installation.owner}`);
      }
      const grantor = found?.state?.grantor;
      const revoke = `revoke create on ${object} from ${name} cascade`;
      return bySql(...(grantor === undefined ? [revoke] : [`set role ${grantor}`, revoke, 'reset role']));
    }
    case 'setting':
      return object === 'the server'
        ? byHand(
            `Remove it from the server's configuration (alter system reset ${name}, or edit its files), then reload: select pg_reload_conf()`,
          )
        : bySqlIf(
            name === 'session_replication_role'
              ? asSuperuser
              : `Run as a superuser, or as a role that may alter ${object}:`,
            `alter ${object} reset ${name}`,
          );
    case 'parameter':
      return bySqlIf(asSuperuser, `revoke ${found?.sql} on ${object} from ${name}`);
    case 'period':
      return byHand(
        `Nothing in ${name} is dropped until it is set: insert into ${table} (subject, keep_days) values (${quoteLiteral(name)}, …)`,
      );
    case 'membership': {
      const grantor = found?.state?.grantor;
      return bySqlIf(
        'Run as a superuser, or as a role that may grant it:',
        `revoke ${found?.sql} from ${nameOf(object)}${grantor === undefined ? '' : ` granted by ${grantor}`}`,
      );
    }
    case 'host index':
      return bySql(
        reindexStatement(change) ??
          `create unique index concurrently contacts_organisation_id_id_key on ${installation.contacts} (organisation_id, id)`,
      );
    case 'function':
      return repairFunction(change, installation, sibling);
    case 'type':
      return byHand(notOurs);
    case 'view':
      return repairView(change, installation, sibling);
    case 'table':
      if (expected !== null) return repairTable(change);
      if (name === `${installation.schema}.crm_schema_migrations`) {
        return bySqlIf(
          'If it is your migrations table:',
          `alter table ${name} owner to ${installation.owner}`,
        );
      }
      return byHand(/\.crm_sync_log_\w+$/.test(name) ? detachedPartition : notOurs);
    case 'sequence':
      if (expected === null) return byHand(notOurs);
      return found === null
        ? byHand('Make its column an identity column again, starting above its highest value.')
        : bySql(`alter sequence ${name} ${expected.sql}`);
    case 'column':
      return repairColumn(change, sibling);
    case 'default': {
      const action = expected === null ? 'drop default' : `set default ${expected.sql}`;
      return bySql(`alter table ${table} alter column ${name} ${action}`);
    }
    case 'constraint':
      return repairConstraint(change, installation, sibling);
    case 'index':
      return repairIndex(change, sibling);
    case 'trigger': {
      if (expected === null) return bySqlIf(unlessNeeded, `drop trigger ${name} on ${table}`);
      return stateIfSqlMatches(change) !== null
        ? bySql(`alter table ${table} enable trigger ${name}`)
        : bySql(`create or replace trigger ${name} ${expected.sql}`, commentStatement(change, sibling));
    }
    case 'rule':
      return bySqlIf(unlessNeeded, `drop rule ${name} on ${table}`);
    case 'policy': {
      const drop = found === null ? null : `drop policy ${name} on ${table}`;
      return expected === null
        ? bySqlIf(unlessNeeded, drop)
        : bySql(drop, `create policy ${name} on ${table} ${expected.sql}`, commentStatement(change, sibling));
    }
    case 'row-level security': {
      const actions = `${expected?.sql === 'off' ? 'disable' : 'enable'} row level security, no force row level security`;
      return bySql(`alter table ${table} ${actions}`);
    }
    case 'owner':
      return bySqlIf(asBothOwners, `alter ${object} owner to ${installation.owner}`);
    case 'comment':
      return bySql(
        `comment on ${commentTarget(object, name)} is ${expected === null ? 'null' : quoteLiteral(expected.sql)}`,
      );
    case 'privileges':
      throw new Error('privilegeDifferences repairs privileges.');
  }
}

/** The attributes that are expected of a role, without those it has. */
function attributesToSet(expected: string, found: string): string {
  const present = found.split(' ');
  return expected
    .split(' ')
    .filter((attribute) => !present.includes(attribute))
    .join(' ');
}

function repairFunction(change: Change, { owner }: Installation, sibling: ExpectedSibling): Repair {
  const { object, expected, found } = change;
  if (expected === null) return byHand(notOurs);
  // As PostgreSQL prints it, the first line has the parameters and the second the result: neither can be
  // replaced.
  const [parameters, result] = expected.sql.split('\n');
  if (found !== null) {
    const [otherParameters, otherResult] = found.sql.split('\n');
    return otherParameters === parameters && otherResult === result
      ? bySql(expected.sql)
      : byHand(
          'Its parameters or result differ: drop it with everything that depends on it, and recreate both.',
        );
  }
  return bySql(
    expected.sql,
    `alter ${object} owner to ${owner}`,
    ...(sibling('privileges', 'public') === undefined ? [`revoke execute on ${object} from public`] : []),
    ...expectedGrants(object, sibling),
    commentStatement(change, sibling),
  );
}

function repairView(change: Change, { owner }: Installation, sibling: ExpectedSibling): Repair {
  const { object, name, expected, found } = change;
  if (expected === null) return byHand(notOurs);
  const create = `create or replace view ${name} ${expected.sql.replace(/;$/, '')}`;
  if (found !== null) {
    return bySqlIf(
      'If it fails because the columns differ, drop the view first and create it again:',
      create,
    );
  }
  return bySql(
    create,
    `alter ${object} owner to ${owner}`,
    ...expectedGrants(object, sibling),
    commentStatement(change, sibling),
  );
}

function expectedGrants(object: string, sibling: ExpectedSibling): string[] {
  return ['public', 'crm_app', 'crm_worker', 'crm_reader'].flatMap((grantee) => {
    const grants = sibling('privileges', grantee)?.grants;
    return grants === undefined ? [] : [grantStatement(grants, object, grantee)];
  });
}
