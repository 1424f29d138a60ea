/**
 * Draws the pictures of docs/architecture.md and docs/identity.md into docs/architecture/, as SVG. The states, their
 * transitions and the rooms come from the tables in docs/architecture.md; the path of an event comes from
 * dev/pictures/event.dot; the records come from a run of the code in docs/identity.md.
 *
 *   npm run pictures              writes the files
 *   npm run pictures -- --check   changes nothing, and fails if a file is stale
 */
import { readFile } from 'node:fs/promises';
import type { ClientBase } from 'pg';
import { migrateUp } from '../src/migrations.js';
import { keepFresh } from './committed-folder.js';
import { createHostTables, projectPath, withClient } from './database.js';
import { startEmbeddedPostgres } from './embedded-postgres.js';
import { draw } from './pictures/draw.js';
import { identityGraph } from './pictures/identity.js';

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
export const machines = {
  connection: 'A connection',
  run: 'A run',
  failure: 'A failure',
  record: 'A record',
} as const;

/**
 * The pictures, by file name.
 *
 * @param client connected as the owner to a migrated database with the host tables, to which it adds rows
 */
export async function pictures(client: ClientBase): Promise<Map<string, string>> {
  const svgs = new Map<string, string>();
  const event = await readFile(projectPath('dev/pictures/event.dot'), 'utf8');
  svgs.set('event.svg', await draw(event, 'How an event reaches the log'));
  for (const [name, heading] of Object.entries(machines)) {
    const dot = stateDiagram(await readTransitions(heading));
    svgs.set(`${name}.svg`, await draw(dot, `The states of ${heading.toLowerCase()}`));
  }
  svgs.set('rooms.svg', await draw(roomDiagram(await readRooms()), 'The rooms of src and their imports'));
  svgs.set(
    'identity.svg',
    await draw(await identityGraph(client), 'The records of two landlords at three CRMs'),
  );
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
    ...[...arrows].flatMap(([arrow, labels]) => {
      const label = [...labels].join('\\n');
      // One arrow for both directions, where the same functions lead back.
      const back = arrow.split(' -> ').toReversed().join(' -> ');
      const isTwoWay = back !== arrow && [...(arrows.get(back) ?? [])].join('\\n') === label;
      if (isTwoWay && back < arrow) return [];
      return [`${arrow} [label="${label}"${isTwoWay ? ', dir=both' : ''}]`];
    }),
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

/** Draws the pictures with an embedded server. */
async function freshPictures(): Promise<Map<string, string>> {
  const server = await startEmbeddedPostgres();
  try {
    return await withClient(server.url, async (client) => {
      await createHostTables(client);
      await migrateUp(client);
      return pictures(client);
    });
  } finally {
    await server.stop();
  }
}

if (process.argv[1] === projectPath('dev/pictures.ts')) {
  try {
    await keepFresh({
      folder: 'docs/architecture',
      fresh: await freshPictures(),
      unit: 'pictures',
      command: 'npm run pictures',
      checkOnly: process.argv.includes('--check'),
    });
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
