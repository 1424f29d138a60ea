import { shortType } from './markdown.js';
import { type Column, type Constraint, keyColumns, type Table } from './schema.js';

/** A Mermaid diagram of the tables with their keys, which GitHub draws. */
export function mermaid(tables: Table[]): string {
  return ['```mermaid', 'erDiagram', ...tables.flatMap(relations), ...tables.flatMap(entity), '```'].join(
    '\n',
  );
}

function entity(table: Table): string[] {
  const { primary, foreign } = keyColumns(table);
  const line = ({ name, type }: Column) => {
    const marks = [...(primary.has(name) ? ['PK'] : []), ...(foreign.has(name) ? ['FK'] : [])];
    if (marks.length === 0 && !table.isHost) return [];
    // Mermaid's types cannot contain spaces.
    return [`    ${shortType(type).replace(/ .*/, '')} ${name} ${marks.join(', ')}`.trimEnd()];
  };
  return [`  ${table.name} {`, ...table.columns.flatMap(line), '  }'];
}

function relations(table: Table): string[] {
  return table.constraints.flatMap((constraint) => {
    if (constraint.references === null) return [];
    const { references, columns } = constraint;
    const one = isOptional(table, constraint) ? '|o' : '||';
    return [`  ${references.table} ${one}--o{ ${table.name} : "${columns.join(', ')}"`];
  });
}

/** Whether the foreign key is nullable. */
function isOptional(table: Table, { columns }: Constraint): boolean {
  return table.columns.some(({ name, isNullable }) => isNullable && columns.includes(name));
}
