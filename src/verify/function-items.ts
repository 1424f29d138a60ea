import type { Catalog } from '../catalog/facts.js';
import { define, type Item, withComment } from './item.js';

/** The items of functions and types, except their owners and privileges. */
export function functionItems({ functions, types }: Catalog): Item[] {
  return [
    ...functions.flatMap(({ qualified, definition, comment }) =>
      withComment(`function ${qualified}`, {
        kind: 'function',
        name: qualified,
        definition: define(definition ?? 'an aggregate'),
        comment,
      }),
    ),
    ...types.map(
      ({ qualified, kind }): Item => ({
        object: `type ${qualified}`,
        kind: 'type',
        name: qualified,
        definition: define(kind === 'domain' ? 'a domain' : kind === 'enum' ? 'an enum' : 'a type'),
      }),
    ),
  ];
}
