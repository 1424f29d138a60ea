import type { Crm, CrmPage, CrmPosition, CrmRecord } from '../crm.js';
import { Broken, expect } from './rule.js';

/** A pass that was read to its end. */
export interface Reading {
  /** The last copy of each record, by its id as text. */
  records: Map<string, CrmRecord>;
  pages: CrmPage[];
  /** The last page. */
  end: CrmPage;
}

/** All records. */
export const everything: CrmPosition = { changedSince: null };

/** More than any pass of these trials needs, also if an edit moves records to further pages. */
const longestPass = 200;

/**
 * Reads a pass.
 *
 * @param options.from defaults to all records
 * @param options.afterPage called after each page but the last; the adapter that it returns reads on
 */
export async function readPass(
  adapter: Crm,
  options: {
    entityType?: string;
    from?: CrmPosition;
    // biome-ignore lint/suspicious/noConfusingVoidType: most trials read on with the same adapter.
    afterPage?: (page: CrmPage, number: number) => Promise<Crm> | void;
  } = {},
): Promise<Reading> {
  const { entityType = 'contact', from = everything, afterPage } = options;
  const records = new Map<string, CrmRecord>();
  const pages: CrmPage[] = [];
  let reader = adapter;
  for (let position = from; pages.length < longestPass; ) {
    const page = await reader.readPage(entityType, position);
    pages.push(page);
    for (const record of page.records) records.set(String(record.externalId), record);
    if (page.isLast) return { records, pages, end: page };
    expectAnother(pages);
    expect(typeof page.next === 'string', `A page that is not the last has the next ${String(page.next)}.`);
    position = { token: page.next };
    reader = (await afterPage?.(page, pages.length)) ?? reader;
  }
  throw new Broken(`A pass over a few records has not ended after ${longestPass} pages.`);
}

/** Expects that the last of some pages is not one that was read before: the pass would never end. */
function expectAnother(pages: readonly CrmPage[]): void {
  const contents = pages.map(({ records, next }) =>
    JSON.stringify([next, records.map((one) => one.externalId)]),
  );
  const before = contents.indexOf(contents.at(-1) as string) + 1;
  if (before === pages.length) return;
  throw new Broken(`Page ${pages.length} repeats page ${before}, with the same next.`, {
    advice:
      "Put the CRM's own token, or the number of the next page, into next, and send it with the next request.",
  });
}

/** Where the worker begins its next pass: where the last page says, or a minute before the time that it says. */
export function nextFrom({ end }: Reading): CrmPosition {
  if (end.next != null) return { token: end.next };
  const time = Date.parse(String(end.isLast ? end.syncedTo : null));
  expect(!Number.isNaN(time), `The last page has neither next nor a time as syncedTo.`);
  return { changedSince: new Date(time - 60_000).toISOString() };
}

/** The entity types of an adapter, each of which is a stream. */
export function entityTypesOf(adapter: Crm): readonly string[] {
  expect(adapter.entityTypes.length > 0, 'The adapter has no entity types, so nothing is ever read.');
  return adapter.entityTypes;
}

/** Expects that records were read, with the names that they have now. */
export function expectAll(
  wanted: { externalId: string; name: string }[],
  reading: Pick<Reading, 'records'>,
  found: string,
) {
  const missing = wanted.filter(({ externalId, name }) => reading.records.get(externalId)?.name !== name);
  const [first] = missing;
  if (first === undefined) return;
  const old = reading.records.get(first.externalId)?.name;
  const how = old === undefined ? 'was never read' : `was read as ${old}`;
  expect(false, `${found}, ${missing.length} are missing or out of date: ${first.name} ${how}.`);
}

/** The records of two passes; of a record that both have read, the later copy. */
export function merged(first: Reading, second: Reading): Pick<Reading, 'records'> {
  return { records: new Map([...first.records, ...second.records]) };
}

/** The record that a write returned; null if it returned none, or found one that an earlier creation had left. */
export function recordIn(written: Awaited<ReturnType<Crm['write']>>): CrmRecord | null {
  return written === null || 'existing' in written ? null : written;
}
