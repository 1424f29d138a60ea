import { readdir, readFile } from 'node:fs/promises';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { consumerProgram } from '../support/consumer-program.js';

/** An `@example` of a function, as somebody copies it. */
interface Example {
  /** The function that it is of. */
  name: string;
  code: string;
}

/** The examples in the docstrings of a module, and of anything but a function too. */
function examplesOf(source: string): Example[] {
  const file = ts.createSourceFile('module.ts', source, ts.ScriptTarget.Latest, true);
  const examples: Example[] = [];
  const visit = (node: ts.Node): void => {
    for (const tag of ts
      .getJSDocTags(node)
      .filter(({ tagName, parent }) => tagName.text === 'example' && parent.parent === node)) {
      const name = (node as ts.Node & { name?: ts.Node }).name?.getText() ?? '';
      const text = (ts.getTextOfJSDocComment(tag.comment) ?? '').trim();
      const [, code] =
        /^```ts\n([\s\S]*)\n```$/.exec(text) ?? expect.unreachable(`${name}: not a block of ts: ${text}`);
      examples.push({ name, code: code as string });
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return examples;
}

const names = await readdir(projectPath('src'), { recursive: true });
const sources = await Promise.all(
  names.filter((name) => name.endsWith('.ts')).map((name) => readFile(projectPath(`src/${name}`), 'utf8')),
);
const examples = sources.flatMap(examplesOf);

/** What the compiler says of a program of a consumer, strictly: also of what it imports or declares in vain. */
function complaintsAbout(code: string): string[] {
  const { path, service } = consumerProgram(code);
  const unused = service
    .getSuggestionDiagnostics(path)
    .filter(({ reportsUnnecessary }) => reportsUnnecessary);
  const found = [
    ...service.getSyntacticDiagnostics(path),
    ...service.getSemanticDiagnostics(path),
    ...unused,
  ];
  return found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}

test('each @example is found', () => {
  const tags = sources.flatMap((source) => source.match(/^ *\* @example/gm) ?? []);
  expect(examples).toHaveLength(tags.length);
});

test('the functions that a first program, a worker, a webhook and a health page call have an example, and so have the export and the erasure', () => {
  expect(examples.map(({ name }) => name).toSorted()).toEqual([
    'canonicalTimestamp',
    'clientOf',
    'connectionAdvanceLastSyncedAt',
    'connectionListWithHealth',
    'connectionRequestSync',
    'contactErase',
    'contactExport',
    'contactExternalIdLinkMany',
    'contactExternalIdResolve',
    'credentialsConnect',
    'credentialsGet',
    'credentialsRefresh',
    'fromPostgresJs',
    'outboundChangeClaim',
    'outboundChangeRecord',
    'recordRequestAdd',
    'syncBatchRecord',
    'syncCursorList',
    'syncFailureClaim',
    'syncLogCountByPeriod',
    'syncLogRecord',
    'syncRunClaim',
    'syncRunFinish',
    'syncRunHeartbeat',
    'withOrganisation',
  ]);
});

test.each(examples)(
  'the example of $name compiles as a program of its own, and calls it',
  ({ name, code }) => {
    expect(complaintsAbout(code)).toEqual([]);
    expect(code).toMatch(new RegExp(`\\b${name}\\(`));
  },
);
