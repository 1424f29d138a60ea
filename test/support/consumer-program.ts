import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { projectPath } from '../../dev/database.js';

/** Where a consumer's program would be, with the package installed. Nothing in it is on disk. */
const folder = projectPath('test/consumer');
const installed = join(folder, 'node_modules/@nurturehub/crm-schema');

/** Keeps what was parsed, for the next program: TypeScript's own declarations, `@types/node` and the package's. */
const registry = ts.createDocumentRegistry();
let programs = 0;

/** The package's declarations as `npm run build` emits them, by their paths once installed. */
const declarations = builtDeclarations();

function builtDeclarations(): ReadonlyMap<string, string> {
  const emitted = mkdtempSync(join(tmpdir(), 'crm-schema-declarations-'));
  const compiler = projectPath('node_modules/typescript-7/bin/tsc');
  const options = [
    '--project',
    projectPath('tsconfig.build.json'),
    '--emitDeclarationOnly',
    '--outDir',
    emitted,
  ];
  try {
    execFileSync(process.execPath, [
      compiler,
      ...options,
      '--sourceMap',
      'false',
      '--inlineSources',
      'false',
    ]);
    const names = readdirSync(emitted, { recursive: true, encoding: 'utf8' });
    const files = new Map(
      names
        .filter((name) => name.endsWith('.d.ts'))
        .map((name) => [join(installed, 'dist', name), readFileSync(join(emitted, name), 'utf8')]),
    );
    return files.set(join(installed, 'package.json'), readFileSync(projectPath('package.json'), 'utf8'));
  } finally {
    rmSync(emitted, { recursive: true });
  }
}

/**
 * A program in a project that has installed the package, as an editor sees it.
 *
 * @param source the text of its only file, at the returned path
 */
export function consumerProgram(source: string): { path: string; service: ts.LanguageService } {
  // Its own name: the registry knows a file by its path.
  programs += 1;
  const path = join(folder, `program-${programs}.ts`);
  // A separate package: within ours, our package's name would resolve to the source.
  const manifest = JSON.stringify({ name: 'consumer', type: 'module' });
  const files = new Map(declarations).set(path, source).set(join(folder, 'package.json'), manifest);
  const folders = new Set([...files.keys()].flatMap(ancestors));
  const readFile = (name: string) => files.get(name) ?? ts.sys.readFile(name);
  const service = ts.createLanguageService(
    {
      getScriptFileNames: () => [path],
      getScriptVersion: () => '1',
      getScriptSnapshot: (name) => {
        const text = readFile(name);
        return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text);
      },
      getCurrentDirectory: () => folder,
      getDefaultLibFileName: ts.getDefaultLibFilePath,
      getCompilationSettings: () => ({
        strict: true,
        exactOptionalPropertyTypes: true,
        declaration: true,
        target: ts.ScriptTarget.ES2023,
        module: ts.ModuleKind.NodeNext,
        types: ['node'],
        skipLibCheck: true,
      }),
      fileExists: (name) => files.has(name) || ts.sys.fileExists(name),
      readFile,
      directoryExists: (name) => folders.has(name) || ts.sys.directoryExists(name),
      getDirectories: ts.sys.getDirectories,
    },
    registry,
  );
  return { path, service };
}

function ancestors(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [parent, ...ancestors(parent)];
}
