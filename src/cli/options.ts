import { type Command, InvalidArgumentError } from 'commander';
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

/**
 * Refuses, as a usage error, what cannot be taken back, unless it is allowed or the environment is for development.
 *
 * @param deed what to do anyway: `revert`
 */
export function checkProduction(
  options: { allowProduction?: boolean },
  command: Command,
  deed: string,
): void {
  if (options.allowProduction || /^(development|test)$/.test(process.env.NODE_ENV ?? '')) return;
  command.error(
    `error: NODE_ENV is not development or test, so this may be production: add --allow-production to ${deed} anyway`,
  );
}

function withUsageError<Value>(message: string, check: () => Value): Value {
  try {
    return check();
  } catch {
    throw new InvalidArgumentError(message);
  }
}
