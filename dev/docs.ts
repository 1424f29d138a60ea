/**
 * Writes docs/api, the documentation of what the package exports, from the docstrings in src/: a page for
 * each subpath; docs/operations/data-map.md, from dev/data-map/ and the comments in the schema; and
 * docs/contact-export.schema.json, from the type of the export of a contact.
 *
 *   npm run docs          writes the pages
 *   npm run check:docs    changes nothing, and fails if they are stale
 *
 * Either way it fails on an export without a docstring, and on a broken link.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Application, Logger, LogLevel, OptionDefaults, TSConfigReader, type TypeDocOptions } from 'typedoc';
import type { PluginOptions } from 'typedoc-plugin-markdown';
import { keepFileFresh, keepFresh } from './committed-folder.js';
import { contactExportSchema } from './contact-export-schema.js';
import { dataMapPage } from './data-map/page.js';
import { projectPath } from './database.js';
import { withSnapshotDatabase } from './snapshot/database.js';
import { readSchema } from './snapshot/read-schema.js';

/** A package to be documented. */
export interface PackageSources {
  name: string;
  /** The absolute paths of the modules that it exports. */
  modules: readonly string[];
  /** The absolute path of the tsconfig.json they are compiled by. */
  tsconfig: string;
  /** Names that typedoc need not warn about. */
  exceptions?: TypeDocOptions;
}

const options: TypeDocOptions & Partial<PluginOptions> = {
  plugin: ['typedoc-plugin-markdown'],
  readme: 'none',
  // A page documents the exports, not their place in our source.
  disableSources: true,
  excludeInternal: true,
  excludeExternals: true,
  // The statement of a query: it is in queries/.
  excludeTags: [...OptionDefaults.excludeTags, '@remarks'],
  groupOrder: ['Functions', 'Classes', 'Variables', 'Interfaces', 'Type Aliases', '*'],
  validation: { notExported: true, invalidLink: true, notDocumented: true },
  requiredToBeDocumented: [
    'Module',
    'Variable',
    'Function',
    'Class',
    'Method',
    'Accessor',
    'Interface',
    'TypeAlias',
  ],
  outputFileStrategy: 'modules',
  hidePageHeader: true,
  hideBreadcrumbs: true,
  parametersFormat: 'table',
  interfacePropertiesFormat: 'table',
  classPropertiesFormat: 'table',
  typeAliasPropertiesFormat: 'table',
  propertyMembersFormat: 'table',
  tableColumnSettings: { hideInherited: true, hideOverrides: true },
};

/**
 * The pages, by their names.
 *
 * @throws Error that names each export without a docstring, and each broken link
 */
export async function apiPages({
  name,
  modules,
  tsconfig,
  exceptions,
}: PackageSources): Promise<Map<string, string>> {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-docs-'));
  try {
    const imported = (module: string) => (module === 'index' ? name : `${name}/${module}`);
    const own: TypeDocOptions & Partial<PluginOptions> = {
      ...exceptions,
      name,
      entryPoints: [...modules],
      tsconfig,
      out: folder,
      pageTitleTemplates: { module: ({ rawName }) => imported(rawName) },
    };
    const app = await Application.bootstrapWithPlugins({ ...options, ...own, logLevel: 'Warn' }, [
      new TSConfigReader(),
    ]);
    const complaints = new Complaints();
    app.logger = complaints;
    const project = await app.convert();
    if (project !== undefined) {
      app.validate(project);
      await app.generateOutputs(project);
    }
    if (complaints.lines.length > 0) throw new Error(complaints.lines.join('\n'));

    const files = (await readdir(folder)).filter((file) => file !== 'README.md').sort();
    const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
    const pages = new Map(files.map((file, index) => [file, withoutAnchors(texts[index] as string, texts)]));
    const list = files
      .map((file) => [imported(file.replace(/\.md$/, '')), file] as const)
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([path, file]) => `- [\`${path}\`](${file})`);
    return pages.set('README.md', `# What the package exports\n\n${list.join('\n')}\n`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Keeps typedoc's warnings, and prints nothing. */
class Complaints extends Logger {
  readonly lines: string[] = [];

  override log(message: string, level: LogLevel): void {
    if (level >= LogLevel.Warn) this.lines.push(stripVTControlCharacters(message));
  }
}

/** Each row of a table has an anchor; most have no links to them. */
function withoutAnchors(page: string, pages: readonly string[]): string {
  return page.replace(/<a id="([\w-]+)"><\/a> /g, (anchor, id) =>
    pages.some((text) => text.includes(`#${id})`)) ? anchor : '',
  );
}

/** This package: what its `exports` have types for. */
async function thisPackage(): Promise<PackageSources> {
  const { name, exports } = JSON.parse(await readFile(projectPath('package.json'), 'utf8'));
  const types = Object.values<{ types?: string }>(exports).flatMap((target) => target.types ?? []);
  const modules = types.map((path) =>
    projectPath(path.replace('./dist/', 'src/').replace(/\.d\.ts$/, '.ts')),
  );
  return {
    name,
    modules,
    tsconfig: projectPath('tsconfig.build.json'),
    exceptions: {
      intentionallyNotExported: ['ItemKind'],
      // A condition on a type, which is never called.
      intentionallyNotDocumented: ['index.ClientOf.__type.connect'],
    },
  };
}

async function main(checkOnly: boolean): Promise<void> {
  const fresh = await apiPages(await thisPackage());
  const command = 'npm run docs';
  await keepFresh({ folder: 'docs/api', fresh, unit: 'pages', command, checkOnly });
  const schema = await withSnapshotDatabase(readSchema);
  for (const [path, fresh] of [
    ['docs/operations/data-map.md', dataMapPage(schema)],
    ['docs/contact-export.schema.json', contactExportSchema(schema)],
  ] as const) {
    await keepFileFresh({ path, fresh, command, checkOnly });
  }
}

if (process.argv[1] === projectPath('dev/docs.ts')) {
  await main(process.argv.includes('--check')).catch((error) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}
