import { canonicalTimestamp, type Timestamp } from '@nurturehub/crm-schema';

/** A time in the form in which the package compares times; undefined if it is none, or has no zone. */
export function timeIn(text: unknown): Timestamp | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    return canonicalTimestamp(text);
  } catch {
    return undefined;
  }
}
