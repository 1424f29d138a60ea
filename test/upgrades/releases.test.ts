import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { queries, queryNames } from '../queries/every-query.js';
import { readQueries, releases } from './releases.js';
import { samples } from './samples.js';

test("readQueries returns each query's statement and parameters in the order in which they are sent", () => {
  const read = readdirSync(projectPath('queries')).flatMap((file) =>
    readQueries(readFileSync(projectPath(`queries/${file}`), 'utf8')),
  );
  /** The same text without comments, on one line. */
  const bare = (text: string) =>
    text
      .replace(/^(\w+) \/\*.*?\*\//, '$1')
      .replace(/^\s*--.*$/gm, '')
      .replace(/\s+/g, ' ')
      .trim();
  for (const name of queryNames) {
    const { text = '', parameterNames } = read.find((query) => query.name === name) ?? {};
    expect(bare(text)).toBe(bare(queries[name].text));
    expect(parameterNames).toEqual(queries[name].parameterNames);
  }
  expect(read).toHaveLength(queryNames.length);
});

test.each(releases)('samples.ts has calls of each query of $version', ({ queries: released }) => {
  for (const { name, parameterNames } of released) {
    expect(samples, 'test/upgrades/samples.ts').toHaveProperty(name);
    for (const given of samples[name]?.calls ?? [])
      for (const parameter of parameterNames)
        expect(given, `${name}: ${parameter}`).toHaveProperty(parameter);
  }
});
