/**
 * Draws the pictures of docs/architecture.md into docs/architecture/, as SVG. The states, their transitions
 * and the rooms come from the tables in that document; the path of an event comes from dev/pictures/event.dot.
 *
 *   npm run pictures              writes the files
 *   npm run pictures -- --check   changes nothing, and fails if a file is stale
 */
import { readFile } from 'node:fs/promises';
import { instance } from '@viz-js/viz';
import { keepFresh } from './committed-folder.js';
import { projectPath } from './database.js';

/** A row of a table of states: one transition, or the same one from several states. */
export interface Transition {
  /** Empty if the row is inserted. */
  from: string[];
  /** Undefined if the row is deleted. */
  to: string | undefined;
  when: string;
  /** The functions that make the transition; none if time does. */
  functions: string[];
}

/** A row of the table of rooms. */
export interface Room {
  name: string;
  mayImport: string[];
}

const document = 'docs/architecture.md';

/** The cells of the table under a heading, without its head. */
function tableUnder(text: string, heading: string): string[][] {
  const [, section = ''] = text.split(`\n## ${heading}\n`);
  const [, rows = ''] = /^\|[-|]+\|\n((?:\|.*\n)+)/m.exec(section.split('\n## ')[0] ?? '') ?? [];
  const lines = rows.split('\n').filter((line) => line !== '');
  if (lines.length === 0) throw new Error(`${document} has no table under "${heading}".`);
  return lines.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const codesIn = (cell = '') => [...cell.matchAll(/`([^`]+)`/g)].map(([, code]) => code as string);

/** The transitions in the table under a heading of docs/architecture.md. */
export async function readTransitions(heading: string): Promise<Transition[]> {
  const text = await readFile(projectPath(document), 'utf8');
  return tableUnder(text, heading).map(([from, to, when = '', functions]) => ({
    from: codesIn(from),
    to: codesIn(to)[0],
    when,
    functions: codesIn(functions),
  }));
}

/** The rooms in docs/architecture.md. */
export async function readRooms(): Promise<Room[]> {
  const text = await readFile(projectPath(document), 'utf8');
  return tableUnder(text, 'Rooms').map(([name, , mayImport]) => ({
    name: codesIn(name)[0]?.replace(/^src\/|\/$/g, '') ?? '',
    mayImport: codesIn(mayImport),
  }));
}

/** The heading of each table of states, by the name of its picture. */
export const machines = { connection: 'A connection', run: 'A run', failure: 'A failure' } as const;

/** The pictures, by file name. */
export async function pictures(): Promise<Map<string, string>> {
  const svgs = new Map<string, string>();
  const event = await readFile(projectPath('dev/pictures/event.dot'), 'utf8');
  svgs.set('event.svg', await draw(event, 'How an event reaches the log'));
  for (const [name, heading] of Object.entries(machines)) {
    const dot = stateDiagram(await readTransitions(heading));
    svgs.set(`${name}.svg`, await draw(dot, `The states of ${heading.toLowerCase()}`));
  }
  svgs.set('rooms.svg', await draw(roomDiagram(await readRooms()), 'The rooms of src and their imports'));
  return svgs;
}

function stateDiagram(transitions: Transition[]): string {
  const states = new Set(transitions.flatMap(({ from, to }) => [...from, ...(to === undefined ? [] : [to])]));
  // One arrow from a state to another, whatever the causes.
  const arrows = new Map<string, Set<string>>();
  for (const { from, to, functions, when } of transitions) {
    for (const state of from.length > 0 ? from : ['start']) {
      const arrow = `"${state}" -> "${to ?? 'end'}"`;
      const labels = functions.length > 0 ? functions : [when];
      arrows.set(arrow, new Set([...(arrows.get(arrow) ?? []), ...labels]));
    }
  }
  return [
    'digraph {',
    'graph [rankdir=LR, ranksep=0.7, nodesep=0.5]',
    ...[...states].map((state) => `"${state}" [class=state]`),
    'start [class=point, shape=point, width=0.14, label=""]',
    ...(transitions.some(({ to }) => to === undefined)
      ? ['end [class=point, shape=doublecircle, width=0.12, fixedsize=true, label=""]']
      : []),
    ...[...arrows].map(([arrow, labels]) => `${arrow} [label="${[...labels].join('\\n')}"]`),
    '}',
  ].join('\n');
}

/** Leaves out arrows that follow from others, such as one to `statements` through another room. */
function roomDiagram(rooms: Room[]): string {
  const importsOf = new Map(rooms.map(({ name, mayImport }) => [name, mayImport]));
  const reaches = (from: string, to: string): boolean =>
    (importsOf.get(from) ?? []).some((room) => room === to || reaches(room, to));
  const edges = rooms.flatMap(({ name, mayImport }) =>
    mayImport
      .filter((room) => !mayImport.some((other) => other !== room && reaches(other, room)))
      .map((room) => `"${name}" -> "${room}"`),
  );
  return [
    'digraph {',
    'graph [rankdir=TB, ranksep=0.4, nodesep=0.35]',
    ...rooms.map(({ name }) => `"${name}" [class=step]`),
    ...edges,
    '}',
  ].join('\n');
}

/** Shapes and colours by class, for a light page. `style` has the colours for a dark one. */
const shapes: Record<string, string> = {
  step: 'shape=box, style="filled,rounded", fillcolor="#dbe9f9"',
  state: 'shape=box, style="filled,rounded", fillcolor="#dbe9f9", fontname="Courier"',
  table: 'shape=cylinder, style=filled, fillcolor="#e9f5e9"',
  outside: 'shape=oval, style=filled, fillcolor="#ffffff"',
  adapter: 'shape=box, style=filled, fillcolor="#fff3d6"',
  point: 'style=filled, fillcolor="#1f2328"',
};

const style = `<style>
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Helvetica, Arial, sans-serif; }
.state text { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) {
  .graph > polygon { fill: #0d1117; }
  text { fill: #e6edf3; }
  .node polygon, .node path, .node ellipse { stroke: #8b949e; }
  .step > path, .state > path, .step > polygon { fill: #14325a; }
  .table > path { fill: #17351f; }
  .adapter > polygon { fill: #4a3a10; }
  .outside > ellipse { fill: #161b22; }
  .point > ellipse { fill: #e6edf3; }
  .edge path { stroke: #8b949e; }
  .edge polygon { fill: #8b949e; stroke: #8b949e; }
}
</style>`;

/** Draws a graph as SVG, readable on a light and a dark page. */
async function draw(graph: string, title: string): Promise<string> {
  const viz = await instance();
  const styled = graph.replaceAll(/\[class=(\w+)/g, (_, name) => `[class=${name}, ${shapes[name]}`);
  const defaults = [
    'graph [bgcolor="#ffffff", fontname="Helvetica", pad=0.2]',
    'node [fontname="Helvetica", fontsize=12, color="#57606a", fontcolor="#1f2328", margin="0.22,0.08"]',
    'edge [fontname="Helvetica", fontsize=10, color="#57606a", fontcolor="#1f2328", arrowsize=0.7]',
  ];
  const svg = viz.renderString(styled.replace(/digraph \{/, `digraph {\n${defaults.join('\n')}`), {
    format: 'svg',
  });
  return svg
    .slice(svg.indexOf('<svg'))
    .replaceAll(/<!--.*?-->\n?/gs, '')
    .replaceAll(/<title>[^<]*<\/title>\n?/g, '')
    .replace(/(<svg[^>]*>)/, `$1\n<title>${title}</title>\n${style}`);
}

if (process.argv[1] === projectPath('dev/pictures.ts')) {
  await keepFresh({
    folder: 'docs/architecture',
    fresh: await pictures(),
    unit: 'pictures',
    command: 'npm run pictures',
    checkOnly: process.argv.includes('--check'),
  }).catch((error) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}
