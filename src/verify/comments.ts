import { quoteLiteral } from '../statements/quoting.js';
import { type Change, type ExpectedSibling, nameOf } from './difference.js';

/** The statement that restores the comment on an item; null if none is expected. */
export function commentStatement(
  { object, kind, name }: Pick<Change, 'object' | 'kind' | 'name'>,
  sibling: ExpectedSibling,
): string | null {
  const comment = sibling('comment', `${kind} ${name}`);
  if (comment === undefined) return null;
  return `comment on ${commentTarget(object, `${kind} ${name}`)} is ${quoteLiteral(comment.sql)}`;
}

/** The subject of a comment, in SQL: `column public.crm_connections.status`. */
export function commentTarget(object: string, item: string): string {
  const [kind = '', name = ''] = item.split(/ (.*)/s);
  if (kind === 'column') return `column ${nameOf(object)}.${name}`;
  return ['constraint', 'trigger', 'policy'].includes(kind) ? `${item} on ${nameOf(object)}` : item;
}
