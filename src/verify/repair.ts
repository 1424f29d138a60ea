import { quoteLiteral } from '../statements/quoting.js';
import { commentStatement, commentTarget } from './comments.js';
import {
  byHand,
  bySql,
  bySqlIf,
  type Change,
  type ExpectedSibling,
  nameOf,
  notOurs,
  type Repair,
  unlessNeeded,
} from './difference.js';
import type { Installation } from './installation.js';
import type { Rename } from './renames.js';
import { repairFunction, repairView } from './repair-functions.js';
import { repairName } from './repair-names.js';
import { asBothOwners, repairServerItem } from './repair-server.js';
import {
  repairColumn,
  repairConstraint,
  repairIndex,
  repairSequence,
  repairTable,
  stateIfSqlMatches,
} from './repair-tables.js';

const detachedPartition =
  'It may be a detached partition of the log: check what is in it. Attach it again, or rename it to keep it: then erasures do not search it.';

/**
 * How to repair a change, other than one of privileges, without losing a row.
 *
 * @param renames of an index that was renamed: the steps that give it its name
 */
export function repair(
  change: Change,
  installation: Installation,
  sibling: ExpectedSibling,
  renames: readonly Rename[] = [],
): Repair {
  const { object, kind, name, expected, found } = change;
  const table = nameOf(object);
  if (change.foundAs !== undefined) return repairName(change, change.foundAs, renames);
  switch (kind) {
    case 'migration':
      return byHand(
        expected === null ? 'Use the version of the package that has it.' : 'Run the migrations first.',
      );
    case 'role':
    case 'schema usage':
    case 'schema creation':
    case 'membership':
    case 'setting':
    case 'parameter':
    case 'default privileges':
    case 'host index':
      return repairServerItem(kind, change, installation);
    case 'period':
      return byHand(
        expected === null
          ? 'Nothing of this version is deleted by that age: delete the row.'
          : `Nothing in ${name} is dropped until it is set: insert into ${table} (subject, keep_days) values (${quoteLiteral(name)}, …)`,
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
      return repairSequence(change);
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
      const drop = `drop trigger ${name} on ${table}`;
      if (expected === null) return bySqlIf(unlessNeeded, drop);
      if (stateIfSqlMatches(change) !== null) return bySql(`alter table ${table} enable trigger ${name}`);
      // A constraint trigger can be neither replaced nor made a usual one.
      const isOfConstraint = / DEFERRABLE INITIALLY /.test(found?.sql ?? '');
      return bySql(
        isOfConstraint ? drop : null,
        `create or replace trigger ${name} ${expected.sql}`,
        commentStatement(change, sibling),
      );
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
