import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { consumerProgram } from '../support/consumer-program.js';

const packageImports = `
  import * as crm from '@nurturehub/crm-schema';
  import * as clients from '@nurturehub/crm-schema/clients';
  import * as credentials from '@nurturehub/crm-schema/credentials';
  import * as migrations from '@nurturehub/crm-schema/migrations';`;

interface ExportedFunctions {
  checker: ts.TypeChecker;
  functions: ExportedFunction[];
}

/** The functions that a program exports. */
function exportedFrom(source: string): ExportedFunctions {
  const { path, service } = consumerProgram(source);
  const program = service.getProgram() as ts.Program;
  const checker = program.getTypeChecker();
  const file = program.getSourceFile(path) as ts.SourceFile;
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(file) as ts.Symbol);
  return { checker, functions: exported.flatMap((symbol) => functionsOf(checker, symbol)) };
}

/**
 * What an editor cannot show of the parameters of functions. A parameter is documented once: by its members, where its
 * type has some; else by `@param`.
 */
function faultsOf({ checker, functions }: ExportedFunctions): string[] {
  return functions.flatMap((each) => faultsIn(checker, each));
}

interface ExportedFunction {
  place: string;
  signature: ts.Signature;
}

/** The functions of an export: itself, those of a namespace, or the constructor and the methods of a class. */
function functionsOf(checker: ts.TypeChecker, symbol: ts.Symbol): ExportedFunction[] {
  const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  if (target.flags & ts.SymbolFlags.Module) {
    return checker.getExportsOfModule(target).flatMap((each) => functionsOf(checker, each));
  }
  const place = target.name;
  if (target.flags & ts.SymbolFlags.Function) {
    return checker
      .getTypeOfSymbol(target)
      .getCallSignatures()
      .map((signature) => ({ place, signature }));
  }
  if ((target.flags & ts.SymbolFlags.Class) === 0) return [];
  const type = checker.getTypeOfSymbol(target);
  const methods = [type, checker.getDeclaredTypeOfSymbol(target)].flatMap((owner) =>
    checker.getPropertiesOfType(owner).flatMap((method) =>
      checker
        .getTypeOfSymbol(method)
        .getCallSignatures()
        .map((signature) => ({ place: `${place}.${method.name}`, signature })),
    ),
  );
  const constructors = type.getConstructSignatures().map((signature) => ({ place, signature }));
  return [...constructors, ...methods].filter(({ signature }) => isOurs(signature.declaration));
}

const isOurs = (declaration: ts.Node | undefined) =>
  declaration !== undefined && !/typescript\/lib|@types/.test(declaration.getSourceFile().fileName);

const isPrivate = (declaration: ts.Node) =>
  ts.isPropertyDeclaration(declaration) && ts.isPrivateIdentifier(declaration.name);

function faultsIn(checker: ts.TypeChecker, { place, signature }: ExportedFunction): string[] {
  const faults: string[] = [];
  for (const tag of ts.getJSDocTags(signature.declaration as ts.Node).filter(ts.isJSDocParameterTag)) {
    if (!ts.isIdentifier(tag.name)) faults.push(`${place}: ${tag.name.getText()} has a comment and a @param`);
  }
  for (const parameter of signature.getParameters()) {
    const name = `${place}(${parameter.name})`;
    const declaration = parameter.valueDeclaration as ts.ParameterDeclaration;
    if (!ts.isIdentifier(declaration.name)) faults.push(`${name} has no name`);
    const isDescribed = textOf(checker, parameter) !== '';
    const members = membersOf(checker, checker.getTypeOfSymbol(parameter));
    const bare = members.filter((member) => textOf(checker, member) === '');
    faults.push(...bare.map((member) => `${name}.${member.name} has no documentation`));
    if (members.length === 0 && !isDescribed) faults.push(`${name} has no documentation`);
  }
  return faults;
}

/** The members that the package, or the program, declares; of a union, those of each alternative. */
function membersOf(checker: ts.TypeChecker, type: ts.Type): ts.Symbol[] {
  const known = checker.getNonNullableType(checker.getBaseConstraintOfType(type) ?? type);
  if (known.isUnion()) return known.types.flatMap((each) => membersOf(checker, each));
  return checker
    .getPropertiesOfType(known)
    .filter(({ declarations = [] }) => declarations.some((each) => isOurs(each) && !isPrivate(each)));
}

function textOf(checker: ts.TypeChecker, symbol: ts.Symbol): string {
  return ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim();
}

test('each parameter of the package’s functions, and each member of it, is documented once', () => {
  const exported = exportedFrom(`${packageImports}\nexport { crm, clients, credentials, migrations };`);
  const places = exported.functions.map(({ place }) => place);
  expect(places.length).toBeGreaterThan(85);
  expect(places).toEqual(
    expect.arrayContaining([
      'syncRunClaim',
      'fromPostgresJs',
      'credentialsConnect',
      'migrateUp',
      'KeyRing.load',
      'KeyRing.encrypt',
    ]),
  );
  expect(faultsOf(exported)).toEqual([]);
});

test.each([
  ['organisationId', "The organisation's UUID."],
  ['contactId', "The contact's UUID."],
  ['runId', "The run's id: a bigint, as text."],
])('%s means the same in each function, in the same words', (member, words) => {
  const { checker, functions } = exportedFrom(
    `${packageImports}\nexport { crm, clients, credentials, migrations };`,
  );
  const texts = functions.flatMap(({ signature }) =>
    signature.getParameters().flatMap((parameter) =>
      membersOf(checker, checker.getTypeOfSymbol(parameter))
        .filter(({ name }) => name === member)
        .map((found) => textOf(checker, found)),
    ),
  );
  expect(texts.length).toBeGreaterThan(1);
  expect([...new Set(texts)]).toEqual([words]);
});

describe('the check', () => {
  const limit = `
    /** How many. */
    limit: number`;

  test.each([
    [
      'a member without a comment',
      `export declare function call(params: {${limit}; worker: string }): void;`,
      ['call(params).worker has no documentation'],
    ],
    [
      'a member of an interface without a comment',
      `interface Params {${limit}; worker: string }
       export declare function call(params: Params): void;`,
      ['call(params).worker has no documentation'],
    ],
    [
      'a member of one alternative without a comment',
      `export declare function call(params: {${limit} } | {${limit}; worker: string }): void;`,
      ['call(params).worker has no documentation'],
    ],
    [
      'a value without @param',
      'export declare function call(text: string): void;',
      ['call(text) has no documentation'],
    ],
    [
      'a value whose @param says nothing',
      `/** @param text */
       export declare function call(text: string): void;`,
      ['call(text) has no documentation'],
    ],
    [
      'a member with a comment and a @param',
      `/** @param params.limit how many */
       export declare function call(params: {${limit} }): void;`,
      ['call: params.limit has a comment and a @param'],
    ],
    [
      'a parameter that is taken apart',
      `export function call({ limit }: {${limit} }): number { return limit; }`,
      ['call(__0) has no name'],
    ],
    [
      'a parameter of a method without @param',
      'export declare class Ring { encrypt(text: string): void }',
      ['Ring.encrypt(text) has no documentation'],
    ],
    [
      'nothing where each is documented once',
      `/** @param text what to say */
       export declare function call(text: string, params: {${limit} }): void;`,
      [],
    ],
  ])('finds %s', (_, source, faults) => {
    expect(faultsOf(exportedFrom(source))).toEqual(faults);
  });
});
