import { InvalidArgumentError } from 'commander';
import { timestampParameter } from '../timestamps.js';
import type { Timestamp } from '../types.js';
import { checkUuid } from '../validation.js';

/** The id of an organisation or a connection. Like every option, a usage error if it is invalid. */
export function parseUuid(value: string): string {
  withUsageError('It must be a UUID.', () => checkUuid({ field: 'id' }, value));
  return value.toLowerCase();
}

/** A moment, with its time zone. */
export function parseTime(value: string): Timestamp {
  return withUsageError('It must be a time with a time zone: 2026-11-16T09:00Z.', () =>
    timestampParameter({ field: 'time' }, value),
  );
}

/** The size of a page or a batch. */
export const parseLimit = wholeNumberParser(1, 1000);

/** A whole number within limits. */
export function wholeNumberParser(least: number, most: number): (value: string) => number {
  return (value) => {
    if (!/^\d+$/.test(value) || Number(value) < least || Number(value) > most) {
      throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
    }
    return Number(value);
  };
}

function withUsageError<Value>(message: string, check: () => Value): Value {
  try {
    return check();
  } catch {
    throw new InvalidArgumentError(message);
  }
}
