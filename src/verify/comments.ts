import { literal } from '../statements/quoting.js';
import { type Change, nameOf } from './difference.js';
import type { Item } from './items.js';

/** Finds what is expected beside a change: in the same object, by kind and name. */
export type Beside = (kind: Item['kind'], name: string) => Item['definition'] | undefined;

/** The statement that comments on something as it should be, if it should. */
export function commentOn({ object, kind, name }: Pick<Change, 'object' | 'kind' | 'name'>, beside: Beside) {
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
