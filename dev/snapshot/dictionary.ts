import { code, link, shortType, tableOf, text } from './markdown.js';
import { mermaid } from './mermaid.js';
import { privileges } from './privileges.js';
import type { Column, Constraint, Part, Schema, SchemaFunction, Table } from './schema.js';

/** The text of docs/schema.md: what the catalog's comments say, in Markdown. */
export function dictionary(schema: Schema): string {
  return [
    '# The schema',
    `What the migrations make, read from a PostgreSQL ${schema.postgresVersion} that ran them. As SQL: [schema.sql](../schema.sql). As a picture: [schema.svg](schema.svg). Made by \`npm run snapshot\`: to change a word here, change the comment in a migration.`,
    `Keys, and who points at whom; \`organisations\` and \`contacts\` are NurtureHub's own:`,
    mermaid(schema.tables),
    tableOf(
      ['table', 'what it is'],
      schema.tables.map((table) => [link(table.name), firstSentence(about(table))]),
    ),
    'And [functions](#functions), and [who may do what](#who-may-do-what).',
    ...schema.tables.flatMap((table) => tableSection(table, schema.tables)),
    '## Functions',
    ...schema.functions.map(functionSection),
    '## Who may do what',
    ...privileges(schema),
  ]
    .join('\n\n')
    .concat('\n');
}

function tableSection(table: Table, tables: Table[]): string[] {
  const referencedBy = tables.filter(({ constraints }) =>
    constraints.some(({ references }) => references?.table === table.name),
  );
  return [
    `## ${table.name}`,
    text(about(table)),
    ...facts(table),
    columnTable(table.columns),
    ...list(
      'Keys',
      table.constraints.filter(({ kind }) => kind !== 'c'),
    ),
    ...list(
      'Checks',
      table.constraints.filter(({ kind }) => kind === 'c'),
    ),
    ...list('Indexes', table.indexes),
    ...list('Triggers', table.triggers),
    ...list('Policies', table.policies),
    ...(referencedBy.length > 0
      ? [`Referenced by ${referencedBy.map(({ name }) => link(name)).join(', ')}.`]
      : []),
  ];
}

function about(table: Table): string {
  if (!table.isHost) return table.comment ?? '';
  return `NurtureHub's own table, which no migration creates, alters or drops. Here only what this schema relies on.`;
}

/** What else is to be known of a table as a whole. */
function facts({ partitionKey, rowSecurity, settings }: Table): string[] {
  const sentences = [
    ...(partitionKey === null ? [] : [`Partitioned by ${code(partitionKey)}.`]),
    ...(rowSecurity === 'off'
      ? []
      : [`Row-level security is on${rowSecurity === 'forced' ? ', for the owner too' : ''}.`]),
    ...(settings === null ? [] : [`Set: ${settings.map(code).join(', ')}.`]),
  ];
  return sentences.length > 0 ? [sentences.join(' ')] : [];
}

function columnTable(columns: Column[]): string {
  return tableOf(
    ['column', 'type', 'null', 'default', 'what it is'],
    columns.map((column) => [
      code(column.name),
      code(shortType(column.type)),
      column.isNullable ? 'null' : 'not null',
      column.default === null ? '' : code(column.default.replace(/^default /, '')),
      text(column.comment ?? ''),
    ]),
  );
}

/** A list with a definition on a second line of each item: in a table, long ones would squeeze the rest. */
function list(title: string, parts: (Part & Partial<Pick<Constraint, 'references'>>)[]): string[] {
  if (parts.length === 0) return [];
  const items = parts.map(({ name, definition, comment, references }) => {
    const target = references ? `, to ${link(references.table)}` : '';
    return `- ${code(name)}${comment === null ? '' : `: ${text(comment)}`}\\\n  ${code(definition)}${target}`;
  });
  return [`**${title}**`, items.join('\n')];
}

function functionSection({ name, signature, result, properties, comment }: SchemaFunction): string {
  const facts = properties.map((property) => (property.startsWith('set ') ? code(property) : property));
  return `### ${name}\n\n${text(comment ?? '')}\n\n${code(`${signature} returns ${result}`)}: ${facts.join(', ')}.`;
}

function firstSentence(prose: string): string {
  return text(prose.match(/^.*?[.:](?= |$)/)?.[0].replace(/:$/, '.') ?? prose);
}
