import { headHeight, heightOf, type Line, layOut, type Point, rowHeight } from './layout.js';
import { shortType } from './markdown.js';
import { type Column, keyColumns, type Schema, type Table } from './schema.js';

/** The text of docs/schema.svg: the tables with their columns, and the foreign keys between them. */
export async function diagram({ tables }: Schema): Promise<string> {
  const width = Math.max(...tables.map(widthOf));
  const layout = await layOut(tables, width);
  const margin = 24;
  const legend = 44;
  const size = {
    width: Math.ceil(layout.width) + 2 * margin,
    height: Math.ceil(layout.height) + 2 * margin + legend,
  };
  const table = (name: string) => tables.find((candidate) => candidate.name === name) as Table;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" width="${size.width}" height="${size.height}" role="img" aria-labelledby="title">
  <title id="title">The tables of the CRM schema, their columns and foreign keys</title>
  <style>${style}  </style>
  <rect class="page" x="0.5" y="0.5" width="${size.width - 1}" height="${size.height - 1}" rx="10"/>
  <g transform="translate(${margin} ${margin})">
${layout.lines.map((line) => lineOf(line, table(line.from))).join('\n')}
${[...layout.corners].map(([name, corner]) => boxOf(table(name), corner, width)).join('\n')}
  </g>
  <text class="legend" x="${margin}" y="${size.height - margin + 4}">PK primary key · FK foreign key · ? may be null · crow’s foot: many rows · bar: one row · dashed: deleted together with that one row</text>
</svg>
`;
}

const style = `
    text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Helvetica, Arial, sans-serif; font-size: 12px; fill: #1f2328; }
    .page { fill: #ffffff; stroke: #d1d9e0; }
    .box { fill: #ffffff; stroke: #8c959f; }
    .head { fill: #dbe9f9; }
    .host .head { fill: #e9ebee; }
    .name { font-size: 13px; font-weight: 600; }
    .stripe { fill: #f6f8fa; }
    .mark { font-size: 9px; font-weight: 600; fill: #0a56b5; }
    .type { font-size: 11px; fill: #59636e; }
    .line { fill: none; stroke: #57606a; stroke-width: 1.3; }
    .cascade { stroke-dasharray: 5 3; }
    .foot { fill: none; stroke: #57606a; stroke-width: 1.3; }
    .legend { font-size: 11px; fill: #59636e; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .page { fill: #0d1117; stroke: #30363d; }
      .box { fill: #0d1117; stroke: #6e7681; }
      .head { fill: #14325a; }
      .host .head { fill: #2a3038; }
      .stripe { fill: #161b22; }
      .mark { fill: #79b8ff; }
      .type, .legend { fill: #9ba4ae; }
      .line, .foot { stroke: #9198a1; }
    }
`;

/** Wide enough for its texts in a font on the wide side, since every reader's is another. */
function widthOf({ columns }: Table): number {
  return (
    Math.max(
      ...columns.map((column) => 40 + column.name.length * 7 + 14 + typeOf(column).length * 6.4 + 10),
    ) | 0
  );
}

function typeOf({ type, isNullable }: Column): string {
  return `${shortType(type).replace(/ collate .*/, '')}${isNullable ? '?' : ''}`;
}

function boxOf(table: Table, { x, y }: Point, width: number): string {
  const { primary, foreign } = keyColumns(table);
  const rows = table.columns.map((column, index) => {
    const top = headHeight + index * rowHeight;
    const mark = [...(primary.has(column.name) ? ['PK'] : []), ...(foreign.has(column.name) ? ['FK'] : [])];
    const baseline = top + rowHeight / 2 + 4;
    return [
      ...(index % 2 === 1
        ? [`<rect class="stripe" x="0.5" y="${top}" width="${width - 1}" height="${rowHeight}"/>`]
        : []),
      ...(mark.length > 0 ? [`<text class="mark" x="8" y="${baseline}">${mark.join(' ')}</text>`] : []),
      `<text x="42" y="${baseline}">${column.name}</text>`,
      `<text class="type" x="${width - 10}" y="${baseline}" text-anchor="end">${typeOf(column)}</text>`,
    ].join('');
  });
  const height = heightOf(table);
  return `    <g${table.isHost ? ' class="host"' : ''} transform="translate(${round(x)} ${round(y)})">
      <rect class="box" width="${width}" height="${height}" rx="6"/>
      <path class="head" d="M0.5 ${headHeight}V6.5a6 6 0 0 1 6 -6H${width - 6.5}a6 6 0 0 1 6 6V${headHeight}z"/>
      <text class="name" x="12" y="${headHeight / 2 + 5}">${table.name}</text>${table.partitionKey === null ? '' : `<text class="type" x="${width - 10}" y="${headHeight / 2 + 5}" text-anchor="end">partitioned</text>`}
      ${rows.join('\n      ')}
    </g>`;
}

/** A foreign key: a crow's foot where many rows are, a bar across the end where the one is. */
function lineOf({ constraint, points }: Line, table: Table): string {
  const key = table.constraints.find(({ name }) => name === constraint);
  const [start, ...rest] = points as [Point, ...Point[]];
  const end = rest.at(-1) as Point;
  const path = `M${xy(start)}C${rest.map(xy).join(' ')}`;
  const many = towards(start, rest[0] as Point);
  const one = towards(end, rest.at(-2) as Point);
  const foot = `M${xy(many(0, 5))}L${xy(many(11, 0))}L${xy(many(0, -5))}`;
  const bar = `M${xy(one(8, 5))}L${xy(one(8, -5))}`;
  const isCascade = key?.references?.onDelete === 'c';
  return `    <path class="line${isCascade ? ' cascade' : ''}" d="${path}"><title>${constraint}</title></path><path class="foot" d="${foot}${bar}"/>`;
}

/** Points by their distance along a line and beside it. */
function towards(from: Point, to: Point): (along: number, beside: number) => Point {
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const direction = { x: (to.x - from.x) / length, y: (to.y - from.y) / length };
  return (along, beside) => ({
    x: from.x + along * direction.x - beside * direction.y,
    y: from.y + along * direction.y + beside * direction.x,
  });
}

function xy({ x, y }: Point): string {
  return `${round(x)} ${round(y)}`;
}

function round(number: number): number {
  return Math.round(number * 10) / 10;
}
