import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';

/** The documents, by their paths in this project. */
const folders = [
  '.',
  'docs',
  'docs/api',
  'docs/decisions',
  'docs/operations',
  'examples/deploy',
  'examples/monitoring',
];
const files = await Promise.all(
  folders.map(async (folder) => (await readdir(projectPath(folder))).map((name) => join(folder, name))),
);
const documents = files.flat().filter((file) => file.endsWith('.md'));
const texts = new Map<string, string>();
for (const document of documents) texts.set(document, await readFile(projectPath(document), 'utf8'));

/** The anchors of a document: its headings, as GitHub names them, and elements with an id. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set([...text.matchAll(/<a id="([^"]+)">/g)].map(([, id]) => id as string));
  const outside = text.replaceAll(/^ *```[\s\S]*?^ *```$/gm, '');
  for (const [, heading = ''] of outside.matchAll(/^#+ (.*)$/gm)) {
    const name = heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-');
    let anchor = name;
    for (let count = 1; anchors.has(anchor); count += 1) anchor = `${name}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}

test.each(documents)('every link, anchor and file name in %s exists', (document) => {
  const text = texts.get(document) as string;
  for (const [, path = '', anchor] of text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)) {
    const target = path === '' ? document : join(dirname(document), path);
    expect(existsSync(projectPath(target)), target).toBe(true);
    if (anchor === undefined) continue;
    expect([...anchorsOf(texts.get(target) ?? '')], `${target}#${anchor}`).toContain(anchor);
  }
  for (const [, path = ''] of text.matchAll(
    /`((?:migrations|queries|src|test|dev|demo|docs|examples|bench|\.ci)\/[\w./-]*)`/g,
  )) {
    expect(existsSync(projectPath(path)), path).toBe(true);
  }
});

const operations = documents.filter((file) => /^docs\/operations\/(?!README)/.test(file));

test.each([
  'README.md',
  'docs/adapters.md',
  'docs/architecture.md',
  'docs/clients.md',
  'docs/credentials.md',
  'docs/demo.md',
  'docs/identity.md',
  'docs/sync-engine.md',
  ...operations,
])('the table of contents of %s lists its sections in order', (document) => {
  const text = texts.get(document) as string;
  const [list = ''] = /(?:^- \[[^\]]+\]\(#[^)]+\).*\n)+/m.exec(text) ?? [];
  const listed = [...list.matchAll(/^- \[([^\]]+)\]\(#/gm)].map(([, title]) => title);
  const after = text.slice(text.indexOf(list) + list.length).replaceAll(/^ *```[\s\S]*?^ *```$/gm, '');
  expect(listed).toEqual([...after.matchAll(/^## (.*)$/gm)].map(([, title]) => title));
});
