import { join } from 'node:path';
import ts from 'typescript';

/** How a consumer's compiler finds the package. */
export type Resolution = 'nodenext' | 'bundler';

const modes = {
  nodenext: {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    files: ['consumer.ts', 'consumer.cts'],
  },
  bundler: {
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    files: ['consumer.ts'],
  },
};

/** Files that were parsed before, for the next program: most are TypeScript's own and `@types/node`. */
const parsed = new Map<string, ts.SourceFile | undefined>();
const checked = new Map<string, readonly ts.Diagnostic[]>();

/**
 * Checks a consumer's programs, and every declaration they use.
 *
 * @param file `consumer.ts` or `consumer.cts`, which is in the folder
 * @returns the errors as `tsc` prints them, without those of the other program
 */
export function typeErrors(folder: string, resolution: Resolution, file: string): string {
  const key = `${folder} ${resolution}`;
  const found = checked.get(key) ?? check(folder, resolution);
  checked.set(key, found);
  const others = modes[resolution].files.filter((each) => each !== file).map((each) => join(folder, each));
  return ts.formatDiagnostics(
    found.filter((diagnostic) => !others.includes(diagnostic.file?.fileName ?? '')),
    {
      getCurrentDirectory: () => folder,
      getCanonicalFileName: (name) => name,
      getNewLine: () => '\n',
    },
  );
}

function check(folder: string, resolution: Resolution): readonly ts.Diagnostic[] {
  const { files, ...mode } = modes[resolution];
  const options: ts.CompilerOptions = {
    ...mode,
    target: ts.ScriptTarget.ES2023,
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    // TypeScript's own declarations.
    skipDefaultLibCheck: true,
    noEmit: true,
  };
  const host = ts.createCompilerHost(options);
  const read = host.getSourceFile;
  host.getCurrentDirectory = () => folder;
  host.getSourceFile = (name, how, ...rest) => {
    const format = typeof how === 'object' ? how.impliedNodeFormat : undefined;
    const key = `${name} ${format}`;
    if (!parsed.has(key)) parsed.set(key, read(name, how, ...rest));
    return parsed.get(key);
  };
  const program = ts.createProgram(
    files.map((each) => join(folder, each)),
    options,
    host,
  );
  return ts.getPreEmitDiagnostics(program);
}
