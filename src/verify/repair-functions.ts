// How to repair functions and views: see repair.ts.

import { commentStatement } from './comments.js';
import {
  byHand,
  bySql,
  bySqlIf,
  type Change,
  type ExpectedSibling,
  notOurs,
  type Repair,
} from './difference.js';
import type { Installation } from './installation.js';
import { grantStatement } from './privilege-differences.js';

export function repairFunction(change: Change, { owner }: Installation, sibling: ExpectedSibling): Repair {
  const { object, name, expected, found } = change;
  if (expected === null) return byHand(notOurs);
  const create = [
    expected.sql,
    `alter ${object} owner to ${owner}`,
    ...(sibling('privileges', 'public') === undefined ? [`revoke execute on ${object} from public`] : []),
    ...expectedGrants(object, sibling),
    commentStatement(change, sibling),
  ];
  if (found === null) return bySql(...create);
  // As PostgreSQL prints it, the first line has the parameters and the second the result: neither can be replaced.
  const header = (sql: string) => sql.split('\n').slice(0, 2).join('\n');
  return header(found.sql) === header(expected.sql)
    ? bySql(expected.sql)
    : bySqlIf(
        'Its parameters or its result differ. If something depends on it, drop that first, and create it again afterwards:',
        `drop routine ${name}`,
        ...create,
      );
}

export function repairView(change: Change, { owner }: Installation, sibling: ExpectedSibling): Repair {
  const { object, name, expected, found } = change;
  if (expected === null) return byHand(notOurs);
  const create = `create or replace view ${name} ${expected.sql.replace(/;$/, '')}`;
  const hasSameColumns = found?.state?.columns?.join() === expected.state?.columns?.join();
  if (found !== null && hasSameColumns) return bySql(create);
  const statements = [
    create,
    `alter ${object} owner to ${owner}`,
    ...expectedGrants(object, sibling),
    commentStatement(change, sibling),
  ];
  return found === null
    ? bySql(...statements)
    : bySqlIf(
        'Its columns differ. If something depends on it, drop that first, and create it again afterwards:',
        `drop view ${name}`,
        ...statements,
      );
}

function expectedGrants(object: string, sibling: ExpectedSibling): string[] {
  return ['public', 'crm_app', 'crm_worker', 'crm_reader'].flatMap((grantee) => {
    const grants = sibling('privileges', grantee)?.grants;
    return grants === undefined ? [] : [grantStatement(grants, object, grantee)];
  });
}
