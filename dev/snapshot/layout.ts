import { instance } from '@viz-js/viz';
import type { Table } from './schema.js';

export interface Point {
  x: number;
  y: number;
}

export interface Line {
  from: string;
  constraint: string;
  /** A spline from the row of the key that points to the row it points at: a start, and threes of Bézier points. */
  points: Point[];
}

/** Where everything stands, in pixels from the top left. */
export interface Layout {
  width: number;
  height: number;
  /** The top left corner of each table. */
  corners: Map<string, Point>;
  lines: Line[];
}

export const headHeight = 30;
export const rowHeight = 20;
/** Below the last row. */
export const footHeight = 5;
/** Between neighbouring columns of tables. */
const gap = 80;

export function heightOf(table: Table): number {
  return headHeight + table.columns.length * rowHeight + footHeight;
}

/**
 * Lets Graphviz place the tables: those that many point at in a column in the middle, the others on both
 * sides of it, as evenly as may be.
 *
 * @param width of every table, in pixels
 * @throws Error if Graphviz cannot
 */
export async function layOut(tables: Table[], width: number): Promise<Layout> {
  const viz = await instance();
  const graph = JSON.parse(viz.renderString(dot(tables, width), { format: 'json' })) as GraphvizOutput;
  const [, , right, top] = graph.bb.split(',').map(Number) as [number, number, number, number];
  const point = (text: string): Point => {
    const [x, y] = text.split(',').map(Number) as [number, number];
    // Graphviz counts from the bottom.
    return { x, y: top - y };
  };
  const corners = new Map(
    graph.objects.flatMap(({ name, pos }) => {
      const table = tables.find((candidate) => candidate.name === name);
      if (table === undefined || pos === undefined) return [];
      const { x, y } = point(pos);
      return [[name, { x: x - width / 2, y: y - heightOf(table) / 2 }] as const];
    }),
  );
  const touches = ({ x, y }: Point, table: Table) => {
    const corner = corners.get(table.name) as Point;
    const [across, down] = [x - corner.x, y - corner.y];
    return across > -2 && across < width + 2 && down > -2 && down < heightOf(table) + 2;
  };
  const lines = (graph.edges ?? []).flatMap(({ id, pos }) => {
    if (id === undefined) return [];
    const [from, constraint] = id.split(' ') as [string, string];
    const table = tables.find(({ name }) => name === from) as Table;
    const points = pos.split(' ').map(point);
    // Graphviz draws from left to right, or from the top.
    return [
      { from, constraint, points: eased(touches(points[0] as Point, table) ? points : points.reverse()) },
    ];
  });
  return { width: right, height: top, corners, lines };
}

/** Between neighbours nothing is in the way, and one bend to each side is enough; Graphviz makes more. */
function eased(points: Point[]): Point[] {
  const [start, end] = [points[0], points.at(-1)] as [Point, Point];
  const distance = end.x - start.x;
  if (Math.abs(distance) < gap / 2 || Math.abs(distance) > gap * 1.5) return points;
  return [start, { x: start.x + distance / 2, y: start.y }, { x: end.x - distance / 2, y: end.y }, end];
}

interface GraphvizOutput {
  bb: string;
  objects: { name: string; pos?: string }[];
  edges?: { id?: string; pos: string }[];
}

function dot(tables: Table[], width: number): string {
  const sides = takeSides(tables);
  const middle = tables.filter(({ name }) => sides.get(name) === 'middle');
  const pairs = middle.flatMap(({ name, constraints }) =>
    constraints
      .filter(({ references }) => references !== null && sides.get(references.table) === 'middle')
      .flatMap(({ references }) => [name, references?.table]),
  );
  // At the top what is tied to nothing else there, so that no line has to go round it.
  middle.sort((one, other) => Number(pairs.includes(one.name)) - Number(pairs.includes(other.name)));
  const nodes = tables.map((table) => {
    const rows = table.columns.map(({ name }) => cell(name, width, rowHeight)).join('');
    const label = `<table border="0" cellborder="0" cellspacing="0" cellpadding="0">${cell('.head', width, headHeight)}${rows}${cell('.foot', width, footHeight)}</table>`;
    return `${quote(table.name)} [label=<${label}>]`;
  });
  const edges = tables.flatMap((table) =>
    table.constraints.flatMap(({ name, columns, references }) => {
      if (references === null) return [];
      // The tenant is in every key: what tells keys apart is the last column.
      const child = `${quote(table.name)}:${quote(columns.at(-1) as string)}`;
      const parent = `${quote(references.table)}:${quote(references.columns.at(-1) as string)}`;
      const id = quote(`${table.name} ${name}`);
      if (sides.get(table.name) === 'left') return [`${child}:e -> ${parent}:w [id=${id}]`];
      if (sides.get(table.name) === 'right') return [`${parent}:e -> ${child}:w [id=${id}]`];
      return [`${quote(references.table)}:".foot":s -> ${quote(table.name)}:".head":n [id=${id}]`];
    }),
  );
  const loose = tables.filter(
    ({ name, constraints }) =>
      sides.get(name) !== 'middle' && !constraints.some(({ references }) => references),
  );
  const anchor = quote(middle.at(-1)?.name ?? '');
  return `digraph {
    graph [rankdir=LR, ranksep=${gap / 72}, nodesep=0.35, pad=0]
    node [shape=plain]
    edge [dir=none]
    ${nodes.join('\n    ')}
    { rank=same; ${middle.map(({ name }) => quote(name)).join('; ')} }
    ${middle
      .slice(1)
      .map(({ name }, index) => `${quote(middle[index]?.name as string)} -> ${quote(name)} [style=invis]`)
      .join('\n    ')}
    ${edges.join('\n    ')}
    edge [style=invis]
    ${loose.map(({ name }) => (sides.get(name) === 'left' ? `${quote(name)} -> ${anchor}` : `${anchor} -> ${quote(name)}`)).join('\n    ')}
  }`;
}

function cell(port: string, width: number, height: number): string {
  return `<tr><td port=${quote(port)} fixedsize="true" width="${width}" height="${height}"></td></tr>`;
}

function quote(name: string): string {
  return `"${name}"`;
}

/**
 * In the middle, what the host has and what several tables point at; each of the rest beside what it points
 * at there, or else where there is less.
 */
function takeSides(tables: Table[]): Map<string, 'left' | 'middle' | 'right'> {
  const sides = new Map<string, 'left' | 'middle' | 'right'>();
  const heights = { left: 0, right: 0 };
  const pointedAt = ({ constraints }: Table) =>
    constraints.flatMap(({ references }) => references?.table ?? []);
  for (const table of tables) {
    if (table.isHost || tables.filter((other) => pointedAt(other).includes(table.name)).length > 1) {
      sides.set(table.name, 'middle');
      continue;
    }
    const besides = pointedAt(table).map((name) => sides.get(name));
    const side = (['left', 'right'] as const).find((candidate) => besides.includes(candidate));
    const chosen = side ?? (heights.left < heights.right ? 'left' : 'right');
    sides.set(table.name, chosen);
    heights[chosen] += heightOf(table);
  }
  return sides;
}
