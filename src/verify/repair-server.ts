// How to repair what is outside the schema's own objects, as server-items.ts reads it: see repair.ts.

import {
  asMemberOf,
  asSuperuser,
  byHand,
  bySql,
  bySqlIf,
  type Change,
  nameOf,
  type Repair,
} from './difference.js';
import type { Installation } from './installation.js';
import type { Definition, ItemKind } from './item.js';
import { reindexStatement } from './repair-tables.js';

/** The kinds that this module repairs. */
export type ServerItemKind = Extract<
  ItemKind,
  | 'role'
  | 'schema usage'
  | 'schema creation'
  | 'membership'
  | 'setting'
  | 'parameter'
  | 'default privileges'
  | 'host index'
>;

export const asBothOwners = 'Run as a superuser, or as a member of both owners:';

export function repairServerItem(kind: ServerItemKind, change: Change, installation: Installation): Repair {
  const { object, name, expected, found } = change;
  const { schema, owner } = installation;
  switch (kind) {
    case 'role':
      return found === null
        ? bySql(`create role ${name} nologin`, `grant usage on schema ${schema} to ${name}`)
        : bySqlIf(
            /(^| )(superuser|bypassrls|replication)/.test(found.sql)
              ? asSuperuser
              : 'Run as a superuser, or as a role that may alter it:',
            `alter role ${name} ${attributesToSet(expected?.sql ?? '', found.sql)}`,
          );
    case 'schema usage':
      return bySqlOfSchemaOwner(installation, `grant usage on schema ${schema} to ${name}`);
    case 'schema creation':
      return each(found, ({ sql, state }) => {
        if (sql === 'as its owner') {
          return bySqlIf(asBothOwners, `alter ${object} owner to ${owner}`);
        }
        const revoke = `revoke create on ${object} from ${name} cascade`;
        return state?.grantor === undefined
          ? bySqlOfSchemaOwner(installation, revoke)
          : bySqlIf(asMemberOf(state.grantor), ...asGrantor(state.grantor, revoke));
      });
    case 'membership':
      return each(found, ({ sql, state }) => {
        const { grantor, isGrantable } = state ?? {};
        const revoke = `revoke ${sql} from ${nameOf(object)}`;
        const cascade = isGrantable ? ' cascade' : '';
        // Where PostgreSQL keeps the grantor, it revokes nothing that somebody else has granted, and only warns.
        return grantor === undefined
          ? bySqlIf(asSuperuser, `${revoke}${cascade}`)
          : bySqlIf(asMemberOf(grantor), `${revoke} granted by ${grantor}${cascade}`);
      });
    case 'setting':
      return object === 'the server'
        ? byHand(
            `Remove it from the server's configuration (alter system reset ${name}, or edit its files), then reload: select pg_reload_conf(). If it is on the server's command line, remove it there, and restart.`,
          )
        : bySqlIf(
            name === 'session_replication_role'
              ? asSuperuser
              : `Run as a superuser, or as a role that may alter ${object}:`,
            `alter ${object} reset ${name}`,
          );
    case 'parameter':
      return each(found, ({ sql, state }) => {
        const { grantor, isGrantable } = state ?? {};
        const revoke = `revoke ${sql} on ${object} from ${name}${isGrantable ? ' cascade' : ''}`;
        return bySqlIf(asSuperuser, ...(grantor === undefined ? [revoke] : asGrantor(grantor, revoke)));
      });
    case 'default privileges': {
      const [, kinds, place] = /^(\w+)(.*)$/.exec(object) ?? [];
      return bySqlIf(
        'Otherwise each new object gets them again:',
        `alter default privileges for role ${owner}${place === ' in every schema' ? '' : place} revoke ${found?.sql} on ${kinds} from ${name}`,
      );
    }
    case 'host index':
      return bySql(
        reindexStatement(change) ??
          `create unique index concurrently ${installation.contactsIndex} on ${installation.contacts} (organisation_id, id)`,
      );
  }
}

/** A schema's owner alone may grant rights on it. From others, PostgreSQL takes the statement, warns, and does nothing. */
function bySqlOfSchemaOwner({ owner, schemaOwner }: Installation, statement: string): Repair {
  return owner === schemaOwner ? bySql(statement) : bySqlIf(asMemberOf(schemaOwner), statement);
}

/** What only the role that granted something can revoke. */
function asGrantor(grantor: string, revoke: string): string[] {
  return [`set role ${grantor}`, revoke, 'reset role'];
}

/** The repair of all items of the same name. */
function each(found: Definition | null, repairOne: (definition: Definition) => Repair): Repair {
  const repairs = (found?.namesakes ?? (found === null ? [] : [found])).map(repairOne);
  const advice = new Set(repairs.map((repair) => repair.advice));
  return {
    statements: repairs.flatMap(({ statements }) => statements),
    advice: advice.size > 1 ? asSuperuser : ([...advice][0] ?? null),
  };
}

/** The attributes that are expected of a role, without those it has. */
function attributesToSet(expected: string, found: string): string {
  const present = found.split(' ');
  return expected
    .split(' ')
    .filter((attribute) => !present.includes(attribute))
    .join(' ');
}
