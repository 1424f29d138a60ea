import ts from 'typescript';
import { dataMap } from './data-map/page.js';
import { projectPath } from './database.js';
import type { Schema } from './snapshot/schema.js';

/** A part of a JSON schema. */
export interface JsonSchema {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  format?: string;
  description?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
}

/**
 * The text of docs/contact-export.schema.json: the type `ContactExport` as a JSON schema. A property that is a column has
 * the column's comment as its description.
 */
export function contactExportSchema({ tables }: Schema): string {
  const path = projectPath('src/export/document.ts');
  const program = ts.createProgram([path], { strict: true, skipLibCheck: true, types: [] });
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(path) as ts.SourceFile;
  const declaration = source.statements.find(
    (statement) => ts.isInterfaceDeclaration(statement) && statement.name.text === 'ContactExport',
  ) as ts.InterfaceDeclaration;

  /** The comment of the column that a property of a section shows. */
  const columnComment = (section: string | undefined, property: string): string | undefined => {
    const column = property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return tables
      .filter(({ name }) => {
        const exported = dataMap[name]?.exported;
        return exported !== undefined && 'as' in exported && exported.as === section;
      })
      .flatMap(({ columns }) => columns)
      .find(({ name, comment }) => name === column && comment !== null)?.comment as string | undefined;
  };

  const describe = (symbol: ts.Symbol): string =>
    ts.displayPartsToString(symbol.getDocumentationComment(checker)).replace(/\s+/g, ' ');

  const objectSchema = (type: ts.Type, section?: string): JsonSchema => {
    const members = type.getProperties().map((symbol) => {
      const name = symbol.getName();
      const description = describe(symbol) || columnComment(section, name);
      const isSection =
        section === undefined && checker.typeToString(checker.getTypeOfSymbol(symbol)).startsWith('Exported');
      const schema = schemaOf(checker.getTypeOfSymbol(symbol), name, isSection ? name : section);
      return { name, schema: { ...schema, ...(description ? { description } : {}) }, symbol };
    });
    return {
      type: 'object',
      properties: Object.fromEntries(members.map(({ name, schema }) => [name, schema])),
      required: members
        .filter(({ symbol }) => !(symbol.flags & ts.SymbolFlags.Optional))
        .map(({ name }) => name),
    };
  };

  const schemaOf = (type: ts.Type, name: string, section?: string): JsonSchema => {
    const all = type.isUnion() ? type.types : [type];
    const isNullable = all.some(({ flags }) => flags & ts.TypeFlags.Null);
    const parts = all.filter(({ flags }) => !(flags & (ts.TypeFlags.Null | ts.TypeFlags.Undefined)));
    const [first] = parts as [ts.Type];
    const typed = (schema: JsonSchema & { type: string }): JsonSchema =>
      isNullable ? { ...schema, type: [schema.type, 'null'] } : schema;
    if (parts.every((part) => part.isStringLiteral())) {
      const values = parts.map((part) => (part as ts.StringLiteralType).value);
      return { enum: isNullable ? [...values, null] : values };
    }
    if (parts.every(({ flags }) => flags & ts.TypeFlags.BooleanLike)) return typed({ type: 'boolean' });
    if (first.isNumberLiteral()) return { const: first.value };
    if (first.flags & ts.TypeFlags.Number) return typed({ type: 'integer' });
    if (first.flags & ts.TypeFlags.String) {
      return typed(/[a-z]At$/.test(name) ? { type: 'string', format: 'date-time' } : { type: 'string' });
    }
    if (checker.isArrayType(first)) {
      const [element] = checker.getTypeArguments(first as ts.TypeReference) as [ts.Type];
      return typed({ type: 'array', items: schemaOf(element, '', section) });
    }
    if (first.flags & ts.TypeFlags.Object)
      return typed({ ...objectSchema(first, section ?? ''), type: 'object' });
    throw new Error(`${name} has a type that the schema cannot show: ${checker.typeToString(type)}`);
  };

  const symbol = checker.getSymbolAtLocation(declaration.name) as ts.Symbol;
  const document = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: describe(symbol).split('.')[0],
    description: describe(symbol),
    ...objectSchema(checker.getTypeAtLocation(declaration)),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}
