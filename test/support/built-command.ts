import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { projectPath } from '../../dev/database.js';

const run = promisify(execFile);

/**
 * Builds the command into one file with its dependencies, and keeps V8's compiled code of it beside it: reading
 * and compiling 1.2 MB takes longer than most commands do.
 *
 * V8 checks that the code belongs to the same text and version. Node 20 keeps no code of ES modules, so the
 * file has the form of a script: an async function, because the command awaits at its top level.
 *
 * @param folder where the files go, such as `dist/cli`
 * @returns the path to start with Node
 */
export async function buildCommand(folder: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [projectPath('src/cli/main.ts')],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    define: { 'import.meta': 'importMeta' },
    // Some dependencies are CommonJS, and require an optional package.
    external: ['pg-native'],
    logLevel: 'error',
  });
  const [{ text } = { text: '' }] = outputFiles;
  const command = join(folder, 'main.cjs');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'script.js'), asScript(text));
  await writeFile(command, start);
  await writeFile(join(folder, 'compile.cjs'), compile);
  // What these load and call is what the code contains. Nothing listens there, so the second one fails.
  const calls = [['--help'], ['migrate', 'status']];
  await run(process.execPath, [join(folder, 'compile.cjs'), JSON.stringify(calls)], {
    env: { ...process.env, DATABASE_URL: 'postgres://nobody:nothing@127.0.0.1:1/nowhere' },
  });
  return command;
}

/** Turns a bundled module into the expression of an async function. All that it imports are Node's own modules. */
function asScript(module: string): string {
  const body = module
    .replace(/^#!.*/, '')
    .replace(
      /^import (?:\* as )?(\w+|\{.*\}) from ("[\w:/]+");$/gm,
      (_, names: string, from: string) => `const ${names.replaceAll(' as ', ': ')} = require(${from});`,
    );
  return `(async function (require, importMeta) { 'use strict'; ${body}\n})`;
}

const load = `
'use strict';
const { readFileSync, writeFileSync } = require('node:fs');
const { pathToFileURL } = require('node:url');
const { constants, Script } = require('node:vm');
const path = __dirname + '/script.js';
const code = __dirname + '/script.code';
const importMeta = { url: pathToFileURL(__dirname + '/main.cjs').href };
const load = (cachedData) =>
  new Script(readFileSync(path, 'latin1'), {
    filename: path,
    cachedData,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });`;

const start = `#!/usr/bin/env node
${load}
// As Node exits if a module waits for what never comes.
const exitUnfinished = () => (process.exitCode ??= 13);
process.on('exit', exitUnfinished);
load(readFileSync(code)).runInThisContext()(require, importMeta)
  .finally(() => process.off('exit', exitUnfinished));
`;

/** Calls the command in this process, and keeps the code that this has compiled. */
const compile = `
${load}
const script = load();
const command = script.runInThisContext();
const calls = JSON.parse(process.argv[2]);
(async () => {
  for (const args of calls) {
    process.argv = [process.argv[0], path, ...args];
    await command(require, importMeta);
  }
  writeFileSync(code, script.createCachedData());
  // Not that of the last call.
  process.exitCode = 0;
})();
`;
