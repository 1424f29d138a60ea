import type { Catalog } from '../catalog/facts.js';
import type { IndexFacts } from '../catalog/index-facts.js';
import type { RelationFacts } from '../catalog/relation-facts.js';
import type { ColumnFacts, ConstraintFacts } from '../catalog/table-facts.js';
import { type Commented, type Definition, define, type Item, type ItemKind, withComment } from './item.js';

/**
 * The items of tables and other relations.
 *
 * Leaves out what a DBA may tune (storage, statistics, autovacuum), and what PostgreSQL itself keeps the same in a
 * partition (columns, CHECKs).
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
      return tableItems(relation, log).flatMap((item) => withComment(objectOf(relation), item));
    }),
    ...itemsOf(catalog.sequences, (sequence) => [
      commented(
        'sequence',
        sequence.relation,
        define(
          `as ${sequence.type} start ${sequence.start} increment ${sequence.increment} minvalue ${sequence.minimum} maxvalue ${sequence.maximum} ${sequence.isCycling ? 'cycle' : 'no cycle'}`,
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

function tableItems(relation: RelationFacts, log: string): Commented[] {
  const { qualified, kind, persistence, parents, partitionKey, comment } = relation;
  if (kind === 'sequence') return [];
  if (kind === 'view') return [commented('view', qualified, define(viewSql(relation)), comment)];
  const isPartition = parents.includes(log);
  const definition = define(kind, {
    partitionedBy: partitionKey ?? undefined,
    isPartition,
    isUnlogged: persistence === 'unlogged',
    inheritsFrom: isPartition || parents.length === 0 ? undefined : parents,
  });
  const security = `${relation.hasRowSecurity ? 'on' : 'off'}${relation.isRowSecurityForced ? ', forced' : ''}`;
  return [
    // A partition's comment depends on its month.
    commented('table', qualified, definition, isPartition ? null : comment),
    ...(kind === 'table' ? [commented('row-level security', qualified, define(security))] : []),
  ];
}

/** What follows the name. The settings say by whose privileges and policies the view reads. */
function viewSql({ query, settings }: RelationFacts): string {
  return `${settings === null ? '' : `with (${settings.join(', ')}) `}as\n${query}`;
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
  if (parent !== null) return [commented('index', parent, define('attached', state))];
  if (isOfConstraint || isBeingRebuilt) return [];
  return [commented('index', qualified, define(`${isUnique ? 'unique ' : ''}${definition}`, state), comment)];
}
