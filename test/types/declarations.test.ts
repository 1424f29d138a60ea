import { readdir, readFile } from 'node:fs/promises';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import * as clients from '../../src/clients.js';
import * as credentials from '../../src/credentials.js';
import * as crm from '../../src/index.js';
import * as migrations from '../../src/migrations.js';
import { consumerProgram } from '../support/consumer-program.js';

const imports = `
  import * as crm from '@nurturehub/crm-schema';
  import * as clients from '@nurturehub/crm-schema/clients';
  import * as credentials from '@nurturehub/crm-schema/credentials';
  import * as migrations from '@nurturehub/crm-schema/migrations';
  import * as queries from '@nurturehub/crm-schema/queries';`;

/** The package's functions, as `<module>.<name>`. */
const functions = Object.entries({ crm, clients, credentials, migrations }).flatMap(([module, exports]) =>
  Object.entries<unknown>(exports)
    .filter(([name, value]) => typeof value === 'function' && /^[a-z]/.test(name))
    .map(([name]) => `${module}.${name}`),
);

test('declarations can be emitted for a consumer’s wrappers of each function', () => {
  const wrappers = functions.map((name) => {
    const own = name.replace('.', '_');
    return `export const ${own} = (...args: Parameters<typeof ${name}>) => ${name}(...args);`;
  });
  const { path, service } = consumerProgram(`${imports}\n${wrappers.join('\n')}`);
  const program = service.getProgram() as ts.Program;
  const source = program.getSourceFile(path);
  const found = [...program.getSemanticDiagnostics(source), ...program.getDeclarationDiagnostics(source)];
  expect(found.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual([]);
  expect(functions).toEqual(
    expect.arrayContaining(['crm.syncRunClaim', 'migrations.migrateUp', 'clients.clientOf']),
  );
});

test.each([
  ['SyncBatchRecordParams', ['externalIds', 'internalIds', 'occurredAts', 'errors', 'retryAfters']],
  ['SyncBatchRecordParams', ['changeVersions', 'cursorSyncedTos', 'cursorTokens', 'cursorPages']],
  ['SyncLogRecordParams', ['externalIds', 'internalIds', 'occurredAts', 'errors']],
])('the arrays of %s accept nulls where the statement does: %j', (type, fields) => {
  expect(errorsOf(type, fields, '[null]')).toEqual([]);
});

test.each([
  ['SyncBatchRecordParams', ['directions', 'entityTypes', 'statuses', 'areLinks', 'cursorVersions']],
  ['SyncLogRecordParams', ['directions', 'entityTypes', 'statuses']],
  ['ContactExternalIdLinkParams', ['providers', 'entityTypes', 'externalIds', 'contactIds']],
  ['ContactExternalIdResolveParams', ['externalIds']],
])('the other arrays of %s refuse nulls: %j', (type, fields) => {
  expect(errorsOf(type, fields, '[null]')).toEqual(fields.map(() => 2322));
});

/** The codes of the compiler's errors if some fields of a query's parameters are given a value, one by one. */
function errorsOf(type: string, fields: string[], value: string): number[] {
  const lines = fields.map((field) => `export const ${field}: queries.${type}['${field}'] = ${value};`);
  const { path, service } = consumerProgram(`${imports}\n${lines.join('\n')}`);
  const program = service.getProgram() as ts.Program;
  return program.getSemanticDiagnostics(program.getSourceFile(path)).map(({ code }) => code);
}

describe('the documentation of a field', () => {
  test.each([
    [
      'of a parameter',
      'crm.syncRunHeartbeat(pool, { ...run, /**/leaseSeconds: 60 })',
      /in seconds.*86,400; defaults to 300/,
    ],
    [
      'in a batch',
      `crm.syncBatchRecord(pool, { ...run, batchNumber: 1, events: [{ /**/status: 'error' }] })`,
      /^The operation failed\./,
    ],
    [
      'of a cursor position',
      `const move: crm.CursorPosition = { kind: 'timestamp', /**/syncedTo: new Date() }`,
      /up to and including this\s+time/,
    ],
    [
      'of credentials',
      `credentials.credentialsConnect(pool, keys, { organisationId, provider: 'reapit', credentials: { grant: 'client_credentials', /**/customer: 'SBOX' } })`,
      /`SBOX` is the sandbox/,
    ],
    [
      'of a result',
      'crm.syncRunClaim(pool, { worker }).then(([run]) => run?./**/lastSyncedAt)',
      /cursor of incremental sync/,
    ],
    [
      'of a count',
      'crm.syncFailureCountByKind(pool, key).then(([kind]) => kind?./**/givenUpCount)',
      /given up/,
    ],
  ])('%s appears in an editor', (_, statement, text) => {
    const names = ['pool', 'run', 'keys', 'key', 'organisationId', 'worker'];
    const { path, service } = consumerProgram(
      `${imports}\n${names.map((name) => `declare const ${name}: any;`).join('\n')}\n${statement};`,
    );
    const source = service.getProgram()?.getSourceFile(path)?.text ?? '';
    const shown = service.getQuickInfoAtPosition(path, source.indexOf('/**/') + '/**/'.length);
    expect(ts.displayPartsToString(shown?.documentation)).toMatch(text);
  });

  const { path, service } = consumerProgram(`${imports}\nexport { crm, credentials, migrations, queries };`);
  const program = service.getProgram() as ts.Program;
  const checker = program.getTypeChecker();

  test.each(['crm', 'credentials', 'migrations', 'queries'])(
    'exists for each field of %s, in the declarations and docs/api',
    async (module) => {
      const fields = fieldsOf(module);
      expect(fields.length).toBeGreaterThan(20);
      expect(fields.filter(({ text }) => text === '')).toEqual([]);
      const pages = await apiPages();
      expect(fields.filter(({ text }) => !pages.includes(plain(text)))).toEqual([]);
    },
  );

  /**
   * The documentation of each field of a module's types, parameters and results, by a name that leads there.
   * For types generated by pgtyped it is the database's comment on the column.
   */
  function fieldsOf(module: string): { name: string; text: string }[] {
    const found: { name: string; text: string }[] = [];
    const seen = new Set<ts.Type>();
    const visit = (type: ts.Type, place: string): void => {
      if (seen.has(type)) return;
      seen.add(type);
      const parts = [
        ...(type.isUnion() ? type.types : []),
        ...(type.aliasTypeArguments ?? []),
        ...(type.flags & ts.TypeFlags.Object ? checker.getTypeArguments(type as ts.TypeReference) : []),
        ...(type.flags & ts.TypeFlags.Instantiable ? [checker.getBaseConstraintOfType(type) ?? type] : []),
        ...signaturesOf(type).flatMap((signature) => [
          ...signature.getParameters().map((parameter) => checker.getTypeOfSymbol(parameter)),
          signature.getReturnType(),
        ]),
      ];
      for (const part of parts) visit(part, place);
      if ((type.flags & ts.TypeFlags.StructuredType) === 0 || type.isUnion()) return;
      for (const field of checker.getPropertiesOfType(type).filter((each) => isOurs(each, module))) {
        const name = `${place}.${field.name}`;
        found.push({ name, text: ts.displayPartsToString(field.getDocumentationComment(checker)) });
        visit(checker.getTypeOfSymbol(field), name);
      }
    };
    for (const symbol of exportsOf(module)) {
      if (symbol.flags & ts.SymbolFlags.Value) visit(checker.getTypeOfSymbol(symbol), symbol.name);
      if (symbol.flags & ts.SymbolFlags.Type) visit(checker.getDeclaredTypeOfSymbol(symbol), symbol.name);
    }
    return found;
  }

  function exportsOf(module: string): ts.Symbol[] {
    const source = checker.getSymbolAtLocation(program.getSourceFile(path) as ts.SourceFile) as ts.Symbol;
    const exported = checker.getExportsOfModule(source).find(({ name }) => name === module) as ts.Symbol;
    return checker.getExportsOfModule(resolved(exported)).map(resolved);
  }

  function resolved(symbol: ts.Symbol): ts.Symbol {
    return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  }

  function signaturesOf(type: ts.Type): ts.Signature[] {
    return [...type.getCallSignatures(), ...type.getConstructSignatures()].filter(
      (signature) => !signature.getJsDocTags().some(({ name }) => name === 'internal'),
    );
  }

  /**
   * Whether a field belongs to this package and is public; skips generated query types, which may lack
   * comments.
   */
  function isOurs({ flags, name, declarations = [] }: ts.Symbol, module: string): boolean {
    const folder = module === 'queries' ? /\/crm-schema\/dist\/(?!generated)/ : /\/crm-schema\/dist\//;
    const isPrivate = (flags & ts.SymbolFlags.Prototype) !== 0 || /^(__)?#/.test(name);
    return !isPrivate && declarations.some((each) => folder.test(each.getSourceFile().fileName));
  }
});

/** All of docs/api as plain text. */
async function apiPages(): Promise<string> {
  const folder = projectPath('docs/api');
  const pages = await Promise.all(
    (await readdir(folder)).map((file) => readFile(`${folder}/${file}`, 'utf8')),
  );
  return plain(pages.join('\n'));
}

function plain(text: string): string {
  return text
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/\{@link (\w+)\}/g, '$1')
    .replace(/<br ?\/>/g, ' ')
    .replace(/[\\`]/g, '')
    .replace(/\s+/g, ' ')
    .replace(/\.$/, '')
    .toLowerCase();
}
