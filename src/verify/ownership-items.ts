import type { Catalog } from '../catalog/facts.js';
import type { Grant } from '../catalog/grant-facts.js';
import { define, type Item } from './item.js';

/** Who owns relations and functions. An identity column's sequence has its table's owner. */
export function ownerItems({ relations, functions }: Catalog, owner: string): Item[] {
  const owned = [
    ...relations.map((relation) => ({ ...relation, object: `${relation.kind} ${relation.qualified}` })),
    ...functions.map((each) => ({ ...each, kind: 'function', object: `function ${each.qualified}` })),
  ];
  return owned
    .filter(({ kind }) => kind !== 'sequence')
    .map((each) => ({
      object: each.object,
      kind: 'owner',
      name: each.object,
      definition: define(each.owner === owner ? 'the owner of the tables' : each.owner),
    }));
}

/** Who has privileges on what: one item for each grantee. */
export function privilegeItems(catalog: Catalog): Item[] {
  return catalog.grants.flatMap(({ kind, name, grantee, isToOwner, grants }): Item[] => {
    // Not every version has MAINTAIN.
    const compared = isToOwner ? grants.filter(({ privilege }) => privilege !== 'maintain') : grants;
    if (compared.length === 0) return [];
    return [
      {
        object: `${kind} ${name}`,
        kind: 'privileges',
        name: isToOwner ? 'the owner' : grantee,
        definition: { sql: '', grants: sortedGrants(compared) },
      },
    ];
  });
}

function sortedGrants(grants: readonly Grant[]): Grant[] {
  const key = ({ privilege, column, grantor }: Grant) => JSON.stringify([privilege, column, grantor]);
  return [...grants].sort((one, other) => (key(one) < key(other) ? -1 : 1));
}
