import type { Catalog } from '../catalog/facts.js';
import type { IndexFacts } from '../catalog/index-facts.js';
import type { RelationFacts } from '../catalog/relation-facts.js';
import type { ColumnFacts, ConstraintFacts } from '../catalog/table-facts.js';
import { type Commented, type Definition, define, type Item, type ItemKind, withComment } from './item.js';

/**
 * The items of tables and other relations.
 *
 * Leaves out what a DBA may tune (storage, statistics, when autovacuum runs), and what a partition has from the log
 * (columns, CHECKs).
 *
 * @param log qualified name of crm_sync_log
 */
export function relationItems(catalog: Catalog, log: string): Item[] {
  const relations = new Map(catalog.relations.map((relation) => [relation.qualified, relation]));
  const itemsOf = <Facts extends { relation: string }>(
    facts: readonly Facts[],
    toItems: (facts: Facts, relation: RelationFacts) => Commented[],
  ): Item[] =>
    facts.flatMap((each) => {
      const relation = relations.get(each.relation) as RelationFacts;
      return toItems(each, relation).flatMap((item) => withComment(objectOf(relation), item));
    });
  const isTable = ({ kind }: RelationFacts) => kind === 'table';
  return [
    ...catalog.relations.flatMap((relation) => {
      const identity = catalog.indexes.find(
        ({ relation: table, isReplicaIdentity }) => isReplicaIdentity && table === relation.qualified,
      );
      const columns = catalog.columns.filter(({ relation: table }) => table === relation.qualified);
      const items =
        relation.kind === 'view' ? [viewItem(relation, columns)] : tableItems(relation, log, identity);
      return items.flatMap((item) => withComment(objectOf(relation), item));
    }),
    ...itemsOf(catalog.sequences, (sequence, { persistence }) => [
      commented(
        'sequence',
        sequence.relation,
        define(
          `as ${sequence.type} start ${sequence.start} increment ${sequence.increment} minvalue ${sequence.minimum} maxvalue ${sequence.maximum} cache ${sequence.cache} ${sequence.isCycling ? 'cycle' : 'no cycle'}`,
          { isUnlogged: persistence === 'unlogged' },
        ),
      ),
    ]),
    ...itemsOf(catalog.columns, (column, relation) => (isTable(relation) ? columnItems(column) : [])),
    ...itemsOf(catalog.constraints, constraintItems),
    ...itemsOf(catalog.indexes, indexItems),
    ...itemsOf(catalog.triggers, ({ name, definition, fires, comment }) => [
      commented(
        'trigger',
        name,
        define(definition, { fires: fires === 'normally' ? undefined : fires }),
        comment,
      ),
    ]),
    ...itemsOf(catalog.rules, ({ name, definition }) => [commented('rule', name, define(definition))]),
    ...itemsOf(catalog.policies, ({ name, isPermissive, command, roles, using, check, comment }) => [
      commented(
        'policy',
        name,
        define(
          [
            ...(isPermissive ? [] : ['as restrictive']),
            `for ${command} to ${roles.join(', ')}`,
            ...(using === null ? [] : [`using (${using})`]),
            ...(check === null ? [] : [`with check (${check})`]),
          ].join(' '),
        ),
        comment,
      ),
    ]),
  ];
}

function commented(
  kind: ItemKind,
  name: string,
  definition: Definition,
  comment: string | null = null,
): Commented {
  return { kind, name, definition, comment };
}

function objectOf({ kind, qualified }: RelationFacts): string {
  return `${kind} ${qualified}`;
}

/** @param identity the index that replication identifies rows by, if one was chosen and still exists */
function tableItems(relation: RelationFacts, log: string, identity: IndexFacts | undefined): Commented[] {
  const { qualified, kind, persistence, parents, partitionKey, replicaIdentity, comment } = relation;
  if (kind === 'sequence') return [];
  const isPartition = parents.includes(log);
  const definition = define(kind, {
    partitionedBy: partitionKey ?? undefined,
    isPartition,
    isUnlogged: persistence === 'unlogged',
    inheritsFrom: relation.isPartition || parents.length === 0 ? undefined : parents,
    partitionOf: relation.isPartition && !isPartition ? parents[0] : undefined,
    withoutAutovacuum: parametersThatStopAutovacuum(relation),
    hasNoReplicaIdentity: replicaIdentity === 'n' || (replicaIdentity === 'i' && identity === undefined),
  });
  const security = `${relation.hasRowSecurity ? 'on' : 'off'}${relation.isRowSecurityForced ? ', forced' : ''}`;
  return [
    // A partition's comment depends on its month.
    commented('table', qualified, definition, isPartition ? null : comment),
    ...(kind === 'table' ? [commented('row-level security', qualified, define(security))] : []),
  ];
}

/** `autovacuum_enabled`, and the same of the TOAST table; undefined if neither is off. */
function parametersThatStopAutovacuum({ settings }: RelationFacts): string[] | undefined {
  const parameters = (settings ?? []).flatMap((setting) => {
    // The server accepts each word for false, and every beginning of one that is not also a beginning of another.
    const [, parameter] =
      /^((?:toast\.)?autovacuum_enabled)=(?:0|of|off|f|fa|fal|fals|false|n|no)$/i.exec(setting) ?? [];
    return parameter === undefined ? [] : [parameter];
  });
  return parameters.length === 0 ? undefined : parameters;
}

/** Its SQL is what follows the name. The settings say by whose privileges and policies the view reads. */
function viewItem({ qualified, query, settings, comment }: RelationFacts, columns: ColumnFacts[]): Commented {
  const sql = `${settings === null ? '' : `with (${settings.join(', ')}) `}as\n${query}`;
  const state = { columns: columns.map(({ name, type }) => `${name} ${type}`) };
  return commented('view', qualified, define(sql, state), comment);
}

function columnItems(column: ColumnFacts): Commented[] {
  const { name, type, collation, identity, generated, expression, isNotNull, comment } = column;
  const sql = [
    type,
    ...(collation === null ? [] : [`collate ${collation}`]),
    ...(identity === null ? [] : [`generated ${identity} as identity`]),
    ...(generated === null ? [] : [`generated always as (${expression}) ${generated}`]),
    ...(isNotNull ? ['not null'] : []),
  ].join(' ');
  return [
    commented('column', name, define(sql, { isNotValid: !column.isNotNullValidated }), comment),
    ...(generated === null && expression !== null ? [commented('default', name, define(expression))] : []),
  ];
}

/** Names a partition's constraint after that of the log; its own name has no meaning. */
function constraintItems(constraint: ConstraintFacts): Commented[] {
  const { name, parent, type, definition, isValidated, invalidIndex, disabledTriggersOf, comment } =
    constraint;
  if (type === 'n' || type === 't') return [];
  const state = {
    isNotValid: !isValidated && !definition.endsWith(' NOT ENFORCED'),
    disabledTriggersOf: disabledTriggersOf ?? undefined,
    invalidIndex: invalidIndex ?? undefined,
  };
  return [commented('constraint', parent ?? name, define(definition, state), comment)];
}

/** Names a partition's index after that of the log. A constraint's index belongs to the constraint. */
function indexItems(index: IndexFacts, { schema }: RelationFacts): Commented[] {
  const { name, parent, definition, isUnique, isValid, isBeingRebuilt, isOfConstraint, comment } = index;
  const qualified = `${schema}.${name}`;
  const state = { invalidIndex: isValid ? undefined : qualified };
  // Storage parameters are a DBA's to tune, as those of tables are.
  const untuned = definition?.replace(/ WITH \(\w+=(?:'[^']*'|\w+)(?:, \w+=(?:'[^']*'|\w+))*\)/, '');
  if (parent !== null) return [commented('index', parent, define('attached', state))];
  if (isOfConstraint || isBeingRebuilt) return [];
  return [commented('index', qualified, define(`${isUnique ? 'unique ' : ''}${untuned}`, state), comment)];
}
