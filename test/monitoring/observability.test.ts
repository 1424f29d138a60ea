import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { packedPackage } from '../package/consumer.js';
import { queries } from '../queries/every-query.js';
import { useDatabase } from '../support/database.js';
import { readExample } from './configuration.js';

const run = promisify(execFile);

/** The folder that `dev/observability/install.sh` has made; undefined to skip the tests. */
const installed = process.env.TEST_OBSERVABILITY || undefined;
if (installed === undefined) {
  console.log(
    "Skipped: OpenTelemetry's instrumentation and Grafana's types. Set TEST_OBSERVABILITY to a folder made by dev/observability/install.sh.",
  );
}

/** A span, with the text of its statement. */
interface Span {
  name: string;
  text?: string;
}

describe.skipIf(installed === undefined)('with OpenTelemetry and the types of Grafana,', () => {
  const database = useDatabase();
  let folder: string;
  beforeAll(async () => {
    // Within the folder, so that Node finds what is installed there.
    folder = await mkdtemp(join(resolve(installed ?? ''), 'application-'));
    const own = join(folder, 'node_modules/@nurturehub/crm-schema');
    await mkdir(own, { recursive: true });
    await run('tar', ['-xzf', await packedPackage(), '--strip-components=1', '-C', own]);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function spansOf(addsComments: boolean): Promise<Span[]> {
    const program = join(folder, 'traced.mjs');
    await copyFile(projectPath('test/monitoring/traced.mjs.txt'), program);
    const { stdout } = await run(process.execPath, [program, database.url, String(addsComments)]);
    return JSON.parse(stdout);
  }

  test.each([false, true])(
    'a span has the operation in its name, and the name of the query in its text (with sqlcommenter: %s)',
    async (addsComments) => {
      const spans = await spansOf(addsComments);
      const { text } = queries.connectionGet;
      const own = spans.filter((span) => span.text?.includes('/* connectionGet */'));
      // Unchanged: sqlcommenter adds nothing to a statement that has a comment.
      expect(own.map((span) => span.text)).toEqual([text, text, text]);
      const [plain, named, within] = own.map(({ name }) => name.split(' ')[0]);
      expect(plain).toBe('pg.query:SELECT');
      expect(within).toBe(plain);
      // That of a named statement has the name under which the server prepares it.
      expect(named).toMatch(/^pg\.query:connectionGet_[0-9a-f]{8}$/);
      expect(spans.map(({ name }) => name)).not.toContainEqual(expect.stringContaining('/*'));
    },
  );

  /** What the compiler says of a dashboard: unknown, missing and mistyped fields. */
  async function problemsOf(dashboard: string): Promise<string> {
    const types = await readFile(projectPath('test/monitoring/dashboard-types.ts.txt'), 'utf8');
    await writeFile(
      join(folder, 'dashboard.ts'),
      `${types}export const dashboard: Dashboard = ${dashboard};\n`,
    );
    const tsc = projectPath('node_modules/typescript-7/bin/tsc');
    const options = '--noEmit --strict --skipLibCheck --target es2023 --module nodenext --types';
    return run(process.execPath, [tsc, ...options.split(' '), '', 'dashboard.ts'], { cwd: folder }).then(
      ({ stdout }) => stdout,
      ({ stdout }) => stdout,
    );
  }

  test('the dashboard is one by the types of the foundation SDK', async () => {
    expect(await problemsOf(await readExample('dashboard.json'))).toBe('');
  });

  test.each([
    ['an unknown field of a panel', '"legendFormat"', '"legend"', /legend/],
    [
      'a wrong type of a field',
      '"schemaVersion": 39',
      '"schemaVersion": "39"',
      /'string' is not assignable to type 'number'/,
    ],
    ['an option that a panel does not have', '"showPercentChange"', '"percentChange"', /percentChange/],
    ['an unknown kind of panel', '"type": "timeseries"', '"type": "timeserie"', /timeserie/],
  ])('the types of the foundation SDK reject %s', async (_, right, wrong, problem) => {
    const dashboard = await readExample('dashboard.json');
    expect(dashboard).toContain(right);
    expect(await problemsOf(dashboard.replace(right, wrong))).toMatch(problem);
  });
});
