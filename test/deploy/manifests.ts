import ts from 'typescript';
import { projectPath } from '../../dev/database.js';

/** The types of the kinds in use: `kubernetes-types` generates them from the schema of the Kubernetes API. */
const typeOf: Record<string, string> = {
  'batch/v1 Job': "import('kubernetes-types/batch/v1').Job",
  'batch/v1 CronJob': "import('kubernetes-types/batch/v1').CronJob",
};

/**
 * Finds unknown, missing and mistyped fields in a Kubernetes manifest.
 *
 * Type-checks the manifest as a literal of its kind's type, so that every name in it must be known.
 */
export function manifestProblems(manifest: { apiVersion: string; kind: string }): string[] {
  const type = typeOf[`${manifest.apiVersion} ${manifest.kind}`];
  if (type === undefined) return [`Unknown kind: ${manifest.apiVersion} ${manifest.kind}`];
  const source = `const manifest: ${type} = ${JSON.stringify(manifest, null, 2)};\nexport default manifest;\n`;
  const path = projectPath('test/deploy/manifest.ts');
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    types: [],
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    skipLibCheck: true,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (name) => name === path || fileExists(name);
  host.getSourceFile = (name, ...rest) =>
    name === path ? ts.createSourceFile(name, source, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest);
  return ts
    .getPreEmitDiagnostics(ts.createProgram([path], options, host))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}
