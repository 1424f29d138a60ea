/**
 * Generates src/generated from queries/: pgtyped types the queries on a freshly migrated PostgreSQL, and the
 * rest of each query is written in its final form.
 *
 *   npm run generate           writes the files
 *   npm run check:generated    changes nothing, and fails if they are stale
 *
 * pgtyped exits 0 on queries that it cannot read or type, and leaves old output in place. So here it writes
 * into an empty folder, and its output and messages are checked.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { keepFresh } from './committed-folder.js';
import { createHostTables, migrate, projectPath, withClient } from './database.js';
import { startEmbeddedPostgres } from './embedded-postgres.js';
import { definitionSource, type ParsedQuery, queryDefinition } from './query-definition.js';

const run = promisify(execFile);

/**
 * Types the queries of a folder.
 *
 * @returns the generated files, by name
 * @throws Error that names each query that pgtyped could not type
 */
export async function generate(queriesFolder: string, databaseUrl: string): Promise<Map<string, string>> {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-generate-'));
  try {
    const config = JSON.parse(await readFile(projectPath('pgtyped.config.json'), 'utf8'));
    const [transform] = config.transforms;
    transform.emitTemplate = join(folder, '{{name}}.ts');
    const configPath = join(folder, 'pgtyped.config.json');
    await writeFile(configPath, JSON.stringify({ ...config, srcDir: queriesFolder }));

    const pgtyped = projectPath('node_modules/@pgtyped/cli/lib/index.js');
    const { stdout, stderr } = await run(
      process.execPath,
      [pgtyped, '-c', configPath, '--uri', databaseUrl],
      {
        cwd: projectPath('.'),
      },
    ).catch((error) => ({ stdout: error.stdout, stderr: `${error.stderr}${error.message}` }));

    const problems = complaints(stdout + stderr);
    const files = new Map<string, string>();
    for (const name of (await readdir(queriesFolder)).filter((file) => file.endsWith('.sql')).sort()) {
      const source = await readFile(join(queriesFolder, name), 'utf8');
      const output = await readFile(join(folder, name.replace(/\.sql$/, '.ts')), 'utf8').catch(() => '');
      problems.push(...flaws(name, source, output));
      const typed = withNullableElements(withOurRuntime(output), source);
      problems.push(...typed.problems.map((problem) => `${name}: ${problem}`));
      files.set(name.replace(/\.sql$/, '.ts'), typed.output);
    }
    if (problems.length > 0)
      throw new Error(`pgtyped could not type every query:\n  ${problems.join('\n  ')}`);
    return files;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The lines of pgtyped's output that are not its usual progress. */
function complaints(output: string): string[] {
  const progress = /^(Using a pool of \d+ threads\.|Processing .*|Saved \d+ query types from .*|)$/;
  return output.split('\n').filter((line) => !progress.test(line));
}

/** Queries that are missing from the output, and types in it that are too vague. */
function flaws(name: string, source: string, output: string): string[] {
  const queries = [...source.matchAll(/@name\s+(\w+)/g)].map(([, query]) => query as string);
  const missing = queries.filter((query) => !output.includes(`export const ${query} = new PreparedQuery<`));
  const code = output.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^const \w+IR: any = .*$/gm, '');
  const vague = [...code.matchAll(/^.*\b(never|unknown)\b.*$/gm)].map(([line]) => line.trim());
  return [
    ...(queries.length === 0 ? [`${name}: no query found`] : []),
    ...missing.map((query) => `${name}: ${query} is missing from the output`),
    ...vague.map((line) => `${name}: ${line}`),
  ];
}

/**
 * Replaces pgtyped's runtime with our own, which takes a query in its final form, and pgtyped's internal
 * types and comments with what users of the subpath `./queries` should see.
 */
function withOurRuntime(output: string): string {
  const parsed = new Map<string, ParsedQuery>();
  for (const [, name = '', query = ''] of output.matchAll(/^const (\w+)IR: any = (.*);$/gm)) {
    parsed.set(name, JSON.parse(query));
  }
  return withReadableComments(withoutAliases(output))
    .replace(
      /import \{ PreparedQuery \} from '@pgtyped\/runtime';/,
      "import { PreparedQuery } from '../statements/prepared-query.js';",
    )
    .replace(/from '[^']*src\/types\.js'/, "from '../types.js'")
    .replace(/^const \w+IR: any = .*;\n\n/gm, '')
    .replace(
      /(new PreparedQuery<[^>]*>)\((\w+)IR\)/g,
      (_, creation: string, name: string) =>
        `${creation}(${definitionSource(queryDefinition(name, parsed.get(name) as ParsedQuery))})`,
    );
}

/** Inlines pgtyped's type aliases. Each file defines the same ones, so two files would export one name. */
function withoutAliases(output: string): string {
  let text = output.replace(/^export type Json = .*;$/m, "import type { Json } from '../types.js';");
  const isAlias = /^export type (\w+)(?<!Params|Result) = \(?(.*?)\)?(\[\])?;\n\n/m;
  for (let match = isAlias.exec(text); match !== null; match = isAlias.exec(text)) {
    const [line, name, type = '', array = ''] = match;
    const meaning = array !== '' && type.includes(' ') ? `(${type})[]` : type + array;
    text = text.replace(line, '').replace(new RegExp(`\\b${name}\\b`, 'g'), meaning);
  }
  return text.replace(/^\/\*\* '\w+' query type \*\/\nexport interface \w+ \{[^}]*\}\n\n/gm, '');
}

/**
 * Adds null to the element types of the array parameters that a query's comment names after "Nulls are allowed
 * in". Pgtyped types elements as never null, and the SQL cannot say which may be.
 */
function withNullableElements(output: string, source: string): { output: string; problems: string[] } {
  const problems: string[] = [];
  let text = output;
  for (const [, query = '', lines = ''] of source.matchAll(/@name (\w+) \*\/\n((?:--.*\n)*)/g)) {
    const comment = lines.replace(/^-- ?/gm, '').replace(/\s+/g, ' ');
    const [, list = ''] = /Nulls are allowed in ([^.]*)\./.exec(comment) ?? [];
    const start = text.indexOf(
      `export interface ${query.replace(/^./, (letter) => letter.toUpperCase())}Params {`,
    );
    const end = text.indexOf('}', start);
    let params = text.slice(start, end);
    for (const [, parameter] of list.matchAll(/`(\w+)`/g)) {
      const array = new RegExp(`^( {2}${parameter}\\??: )\\(?([^()\\n]*?)\\)?\\[\\];$`, 'm');
      if (!array.test(params)) problems.push(`${query} has no array parameter ${parameter}`);
      params = params.replace(array, '$1($2 | null)[];');
    }
    if (list !== '') text = text.slice(0, start) + params + text.slice(end);
  }
  return { output: text, problems };
}

/** Turns a query's own comment into its documentation, followed by its statement. */
function withReadableComments(output: string): string {
  const lowered = (name: string) => name.replace(/^./, (letter) => letter.toLowerCase());
  return output
    .replace(
      /^\/\*\* '(\w+)' parameters type \*\/$/gm,
      (_, name) => `/** The parameters of {@link ${lowered(name)}}. */`,
    )
    .replace(/^\/\*\* '(\w+)' return type \*\/$/gm, (_, name) => `/** A row of {@link ${lowered(name)}}. */`)
    .replace(
      /^ \* Query generated from SQL:\n \* ```\n((?: \* -- .*\n)*)(?: \*\s*\n)?/gm,
      (_, comment: string) => `${comment.replaceAll(' * -- ', ' * ')} *\n * @remarks\n * \`\`\`sql\n`,
    );
}

async function main(checkOnly: boolean): Promise<void> {
  const server = await startEmbeddedPostgres();
  let fresh: Map<string, string>;
  try {
    await withClient(server.url, async (client) => {
      await createHostTables(client);
      await migrate(client);
    });
    fresh = await generate(projectPath('queries'), server.url);
  } finally {
    await server.stop();
  }

  await keepFresh({ folder: 'src/generated', fresh, unit: 'files', command: 'npm run generate', checkOnly });
}

if (process.argv[1] === projectPath('dev/generate.ts')) {
  await main(process.argv.includes('--check')).catch((error) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}
