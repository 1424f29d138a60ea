import { dirname, join } from 'node:path';
import ts from 'typescript';
import { projectPath } from '../../dev/database.js';

/** Where a program of a consumer would be, with the package beside it. Nothing of it is on disk. */
const folder = projectPath('test/consumer');
const installed = join(folder, 'node_modules/@nurturehub/crm-schema');

/** The declarations of the package as `npm run build` makes them, by their paths once it is installed. */
const declarations = builtDeclarations();

function builtDeclarations(): ReadonlyMap<string, string> {
  const { config } = ts.readConfigFile(projectPath('tsconfig.build.json'), ts.sys.readFile);
  const { fileNames, options } = ts.parseJsonConfigFileContent(config, ts.sys, projectPath('.'));
  const files = new Map<string, string>();
  ts.createProgram(fileNames, options).emit(
    undefined,
    (path, text) => files.set(path.replace(projectPath('dist'), join(installed, 'dist')), text),
    undefined,
    true,
  );
  return files.set(join(installed, 'package.json'), ts.sys.readFile(projectPath('package.json')) ?? '');
}

/**
 * A program of somebody who has installed the package, as his editor sees it.
 *
 * @param source what is in its only file, which has the returned path
 */
export function consumerProgram(source: string): { path: string; service: ts.LanguageService } {
  const path = join(folder, 'program.ts');
  // A package of its own: within this one, its name would mean this one.
  const manifest = JSON.stringify({ name: 'consumer', type: 'module' });
  const files = new Map(declarations).set(path, source).set(join(folder, 'package.json'), manifest);
  const folders = new Set([...files.keys()].flatMap(ancestors));
  const readFile = (name: string) => files.get(name) ?? ts.sys.readFile(name);
  const service = ts.createLanguageService({
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
  });
  return { path, service };
}

function ancestors(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [parent, ...ancestors(parent)];
}
