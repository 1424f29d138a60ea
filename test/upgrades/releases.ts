import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { projectPath } from '../../dev/database.js';

/** A release, kept here as it was released, because a shallow clone has no history. */
export interface Release {
  version: string;
  /** The number of its last migration. */
  lastMigration: number;
  /** SQL that adds the data of an installation, beyond the data of the release before; empty if there is none. */
  data: string;
  queries: readonly ReleasedQuery[];
}

/** A statement that a release sends. */
export interface ReleasedQuery {
  name: string;
  text: string;
  /** In the order of `$1`, `$2` … */
  parameterNames: readonly string[];
}

const versions = ['1.0.4', '1.0.5', '1.1.0', '1.2.0', '1.3.1', '1.4.0', '1.5.0', '1.5.1'];

/** The releases to upgrade from, in order. 1.0.5 changed queries only; 1.3.0 changed neither. */
export const releases: readonly Release[] = [
  release('1.0.4', 4),
  release('1.0.5', 4),
  release('1.1.0', 9),
  release('1.2.0', 11),
  release('1.3.1', 12),
  release('1.4.0', 31),
  release('1.5.0', 43),
  release('1.5.1', 48),
];

/** The statements of a file of `queries/` as they are sent: with numbered parameters, without pgtyped's hints. */
export function readQueries(source: string): ReleasedQuery[] {
  const [, ...sections] = source.split(/^\/\* @name /m);
  return sections.map((section) => {
    const [heading = '', ...lines] = section.split('\n');
    const [name = ''] = heading.split(' ');
    const body = lines
      .filter((line) => !/^\s*--/.test(line))
      .join('\n')
      .trim();
    const parameterNames: string[] = [];
    const text = body
      .replace(/(?<!:):([a-z]\w*)!?/gi, (_, parameter: string) => {
        if (!parameterNames.includes(parameter)) parameterNames.push(parameter);
        return `$${parameterNames.indexOf(parameter) + 1}`;
      })
      .replace(/ as "(\w+)[!?]"/g, ' as "$1"')
      .replace(/;$/, '');
    return { name, text, parameterNames };
  });
}

function release(version: string, lastMigration: number): Release {
  const folder = projectPath(`test/upgrades/releases/${version}`);
  const queries = [...filesOf(version).values()].flatMap(readQueries);
  const file = `${folder}/data.sql`;
  return { version, lastMigration, data: existsSync(file) ? readFileSync(file, 'utf8') : '', queries };
}

/** The files of a release's `queries/`, by name. A folder holds only those whose statements its release added or changed. */
function filesOf(version: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const each of versions.slice(0, versions.indexOf(version) + 1)) {
    const folder = projectPath(`test/upgrades/releases/${each}/queries`);
    for (const file of readdirSync(folder)) files.set(file, readFileSync(`${folder}/${file}`, 'utf8'));
  }
  return files;
}
