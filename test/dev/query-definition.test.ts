import { expect, test } from 'vitest';
import { definitionSource, queryDefinition } from '../../dev/query-definition.js';
import { parsedQuery } from '../support/parsed-query.js';

const textOf = (statement: string) => queryDefinition('example', parsedQuery(statement)).text;

test('numbers parameters in order of first use, and reuses the number of a repeated one', () => {
  const { text, params } = queryDefinition(
    'sum',
    parsedQuery('select :a!::int4 + :b::int4 + :a!::int4 as "sum!", :c!::text as "text?"'),
  );
  expect(text).toBe('select /* sum */ $1::int4 + $2::int4 + $1::int4 as "sum", $3::text as "text"');
  expect(params).toEqual([
    { name: 'a', required: true },
    { name: 'b', required: false },
    { name: 'c', required: true },
  ]);
});

test('leaves out comments, wherever they stand, and keeps the name', () => {
  const statement = `-- What it answers.
-- By which index.

-- 1. A step.
select
  -- Why.
  1 as one, -- trailing
  '-- text, it''s -- kept' as "two--kept"
-- The end.`;
  expect(textOf(statement)).toBe(`select /* example */
  1 as one,
  '-- text, it''s -- kept' as "two--kept"`);
});

test('writes the name of a query after its first word, whichever that is', () => {
  expect(textOf('with one as (select 1 as a) select a from one')).toMatch(
    /^with \/\* example \*\/ one as \(select 1 /,
  );
  expect(textOf('delete from crm_sync_runs')).toBe('delete /* example */ from crm_sync_runs');
  expect(() => textOf('(select 1)')).toThrow('example does not begin with a keyword: (select 1)');
});

test('names the statement by its query and by a hash of its text', () => {
  const name = 'q'.repeat(60);
  const one = queryDefinition(name, parsedQuery('select 1 as one'));
  const two = queryDefinition(name, parsedQuery('select 2 as one'));
  expect(one.statementName).toMatch(/^q{50}_[0-9a-f]{8}$/);
  expect(two.statementName).not.toBe(one.statementName);
});

test("refuses pgtyped's parameter expansions", () => {
  const params = [{ name: 'ids', required: true, transform: { type: 'array_spread' }, locs: [] }];
  expect(() => queryDefinition('spread', { statement: 'select 1 as one', params })).toThrow(
    'spread: ids is expanded; pass an array instead',
  );
});

test('writes a definition as TypeScript that evaluates to the same definition', () => {
  const definition = queryDefinition(
    'odd',
    parsedQuery(`select :a!::text as one, '\\\\d \`\${x}\`' as two, :b::text as three`),
  );
  const evaluate = new Function(`return ${definitionSource(definition)}`);
  expect(evaluate()).toEqual(definition);
});
