import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { contactExternalIdLink, syncLogRecord } from '../../src/index.js';
import { ErasureKey } from '../../src/migrations.js';
import { agencyWithOttoline, log } from '../erasure/agency.js';
import { type Run, runCli } from '../support/cli.js';
import { useDatabase } from '../support/database.js';
import { placesOf } from '../support/erasure.js';
import { useMember } from '../support/roles.js';
import { waiting } from '../support/waiting.js';
import { migrateTo, useInstallation, useLogins } from '../upgrades/installation.js';

const database = useDatabase();
const { pool, url } = database;
const worker = useMember(database, 'crm_worker');

const secret = randomBytes(32).toString('base64');

async function run(args: readonly string[], env: Record<string, string> = {}): Promise<Run> {
  const ended = await runCli(['contact', ...args], {
    DATABASE_URL: url,
    CRM_SCHEMA_ERASURE_KEY: secret,
    ...env,
  });
  expect(`${ended.stdout}${ended.stderr}`).not.toContain(secret);
  return ended;
}

const person = ({ organisationId, ottoline }: { organisationId: string; ottoline: string }) => [
  '--organisation',
  organisationId,
  '--contact',
  ottoline,
];

async function fileOf(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'crm-erasures-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'erasures.json'), text);
  return join(folder, 'erasures.json');
}

describe('contact erase', () => {
  test('with --dry-run shows what it would erase, and changes nothing', async () => {
    const agency = await agencyWithOttoline(pool);
    const before = await placesOf(pool, agency.ottoline);
    const { code, stdout, stderr } = await run(['erase', ...person(agency), '--dry-run']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^Would erase 2 contacts and end 0 runs\.\n/);
    const { rows: merges } = await pool.query(
      "select operation_id as id from contact_external_id_changes where kind = 'contacts_merged' and external_id is null and to_contact_id = $1",
      [agency.ottoline],
    );
    expect(stdout).toMatch(new RegExp(`\n${agency.duplicate}  ${merges[0].id}\n$`));
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    const json = await run(['erase', ...person(agency), '--dry-run', '--json']);
    expect(JSON.parse(json.stdout)).toMatchObject({
      isDryRun: true,
      merges: [{ contactId: agency.duplicate, intoContactId: agency.ottoline, operationId: merges[0].id }],
    });
    expect(stdout).toContain('crm_sync_log                 7 rows\n');
    expect(await placesOf(pool, agency.ottoline)).toEqual(before);
    const { rows } = await pool.query('select from crm_erasures where organisation_id = $1', [
      agency.organisationId,
    ]);
    expect(rows).toEqual([]);
  });

  test('erases, and names the proof', async () => {
    const agency = await agencyWithOttoline(pool);
    const { code, stdout } = await run(['erase', ...person(agency), '--allow-production']);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^Erased 2 contacts and ended 0 runs\.\n(.*\n)*Proof: \d+ in crm_erasures, under key [0-9a-f]{16}\.\nDelete in your own tables; nothing connects these contacts any more:\n( {2}[0-9a-f-]{36}\n){2}$/,
    );
    for (const id of [agency.ottoline, agency.duplicate]) expect(stdout).toContain(`  ${id}\n`);
    for (const text of agency.hers) expect(await placesOf(pool, text)).toEqual([]);
  });

  test('warns of a key that no earlier proof is under', async () => {
    const [earlier, agency] = [await agencyWithOttoline(pool), await agencyWithOttoline(pool)];
    await run(['erase', ...person(earlier), '--allow-production']);
    const known = await run(['erase', ...person(agency), '--dry-run']);
    expect(known).toMatchObject({ code: 0, stderr: '' });
    expect(known.stdout).toMatch(/^The proof would be under key [0-9a-f]{16}\.$/m);
    const other = { CRM_SCHEMA_ERASURE_KEY: randomBytes(32).toString('base64') };
    expect(await run(['erase', ...person(agency), '--dry-run'], other)).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^No earlier proof is under key [0-9a-f]{16}: /),
    });
  });

  test('names the months that are kept under other names, where it does not search', async () => {
    const agency = await agencyWithOttoline(pool);
    await pool.query(
      `create table "Kept 2020_01" (like crm_sync_log including all);
       alter table "Kept 2020_01" add constraint crm_sync_log_connection_id_fkey
         foreign key (organisation_id, connection_id) references crm_connections (organisation_id, id)`,
    );
    try {
      const { code, stderr } = await run(['erase', ...person(agency), '--dry-run']);
      expect({ code, stderr }).toEqual({
        code: 0,
        stderr: expect.stringMatching(/^Not searched: "Kept 2020_01"\. They were months of the log/),
      });
    } finally {
      await pool.query('drop table "Kept 2020_01"');
    }
  });

  test('prints JSON', async () => {
    const agency = await agencyWithOttoline(pool);
    const { stdout } = await run(['erase', ...person(agency), '--json'], { NODE_ENV: 'test' });
    expect(JSON.parse(stdout)).toMatchObject({
      isDryRun: false,
      erasureId: expect.any(String),
      contactIds: [agency.ottoline, agency.duplicate].sort(),
      counts: { crm_sync_log: 7 },
    });
  });

  test('exits with 2 in production unless that is allowed, and erases nothing', async () => {
    const agency = await agencyWithOttoline(pool);
    const { code, stderr } = await run(['erase', ...person(agency)]);
    expect(code).toBe(2);
    expect(stderr).toContain('add --allow-production to erase anyway');
    expect(await placesOf(pool, agency.ottoline)).not.toEqual([]);
  });

  test('exits with 3 if nothing is known of the contact, and leaves no proof', async () => {
    const organisationId = randomUUID();
    const { code, stderr } = await run([
      'erase',
      '--allow-production',
      ...person({ organisationId, ottoline: randomUUID() }),
    ]);
    expect({ code, stderr }).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/^Nothing is known of this contact/),
    });
    const { rows } = await pool.query('select from crm_erasures where organisation_id = $1', [
      organisationId,
    ]);
    expect(rows).toEqual([]);
  });

  test.each([
    ['without a person', ['--allow-production'], 'name the person'],
    ['with a person and --again', ['--again', 'x', '--contact', randomUUID()], '--again names everyone'],
    ['with an id that is none', ['--contact', 'x'], 'must be a UUID'],
  ])('exits with 2 %s', async (_, args, message) => {
    const { code, stderr } = await run(['erase', ...args]);
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
  });

  test.each([
    ['no key', '', 'CRM_SCHEMA_ERASURE_KEY is not set'],
    ['a short key', 'c2hvcnQ=', 'at least 32 random bytes'],
  ])('exits with 1 with %s, and does not show it', async (_, key, message) => {
    const agency = await agencyWithOttoline(pool);
    const { code, stderr } = await run(['erase', '--allow-production', ...person(agency)], {
      CRM_SCHEMA_ERASURE_KEY: key,
    });
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining(message) });
    if (key !== '') expect(stderr).not.toContain(key);
    expect(await placesOf(pool, agency.ottoline)).not.toEqual([]);
  });

  test('says whom to erase if the contact was merged into another one', async () => {
    const agency = await agencyWithOttoline(pool);
    const { code, stderr } = await run([
      'erase',
      '--allow-production',
      ...person({ ...agency, ottoline: agency.duplicate }),
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain(`the contact was merged into ${agency.ottoline}`);
  });

  test('gives up after lock_timeout, says who blocks it, and can be run again', async () => {
    const agency = await agencyWithOttoline(pool);
    const logger = await pool.connect();
    const args = ['erase', ...person(agency), '--allow-production'];
    try {
      await logger.query("set application_name = 'webhooks'");
      await logger.query('begin');
      await syncLogRecord(logger, {
        ...agency.reapit,
        events: [{ direction: 'inbound', entityType: 'contact', externalId: 'OPEN', status: 'success' }],
      });
      const { code, stdout, stderr } = await run(args, { PGOPTIONS: '-c lock_timeout=700' });
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(
        /^Blocked by process \d+ \(webhooks, idle in transaction.*\)\. Nothing was erased: run it again when that transaction has ended\.\n$/,
      );
      await logger.query('commit');
      expect((await run(args)).code).toBe(0);
    } finally {
      logger.release(true);
    }
  });

  test('waits five seconds for a lock by default', async () => {
    const agency = await agencyWithOttoline(pool);
    const holder = await pool.connect();
    try {
      await holder.query('begin');
      await holder.query('select from crm_connections where id = $1 for update', [
        agency.reapit.connectionId,
      ]);
      const started = Date.now();
      const { code, stderr } = await run(['erase', ...person(agency), '--dry-run']);
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^Blocked by process \d+/) });
      expect(Date.now() - started).toBeGreaterThan(5000);
    } finally {
      await holder.query('rollback');
      holder.release();
    }
  });

  test('is refused to a worker, who learns who may', async () => {
    const agency = await agencyWithOttoline(pool);
    const { code, stderr } = await run(['erase', '--allow-production', ...person(agency)], {
      DATABASE_URL: (worker.options as { connectionString: string }).connectionString,
    });
    expect(code).toBe(1);
    expect(stderr).toContain('Only the owner of crm_sync_log may erase');
  });
});

describe('contact erasures', () => {
  test('prints proofs that contact erase --again repeats', async () => {
    const agency = await agencyWithOttoline(pool);
    await run(['erase', ...person(agency), '--allow-production']);
    const listed = await run(['erasures']);
    expect(listed.stdout).toContain(agency.organisationId);
    const { stdout } = await run(['erasures', '--json']);
    await log(pool, agency.reapit, [{ internalId: agency.ottoline }]);
    const file = await fileOf(stdout);
    const dryRun = await run(['erase', '--again', file, '--dry-run']);
    expect(dryRun).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^Read \d+ proofs?\.\nWould erase 1 again; \d+ have not come back\.\n/),
      stderr: '',
    });
    expect(await placesOf(pool, agency.ottoline)).not.toEqual([]);
    const again = await run(['erase', '--again', file, '--allow-production']);
    expect(again).toMatchObject({ code: 0, stderr: '' });
    expect(again.stdout).toMatch(
      /^Read \d+ proofs?\.\nErased 1 again; \d+ had not come back\.\nDelete in your own tables, if they are there:\norganisation +contact\n/,
    );
    expect(again.stdout).toContain(`${agency.organisationId}  ${agency.ottoline}\n`);
    for (const line of again.stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(await placesOf(pool, agency.ottoline)).toEqual([]);
  });

  test('are found by a contact and the key', async () => {
    const agency = await agencyWithOttoline(pool);
    const { stdout: erased } = await run(['erase', ...person(agency), '--json', '--allow-production']);
    const { erasureId } = JSON.parse(erased);
    for (const id of [agency.ottoline.toUpperCase(), agency.duplicate]) {
      const { code, stdout, stderr } = await run(['erasures', '--contact', id]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toMatch(
        new RegExp(
          `^proof +organisation +erased \\(UTC\\) +by\n +${erasureId}  ${agency.organisationId}  [-\\d]{10} [:\\d]{5}  \\w+\n$`,
        ),
      );
    }
    const json = await run(['erasures', '--contact', agency.ottoline, '--json']);
    expect(JSON.parse(json.stdout)).toMatchObject({ contactId: agency.ottoline, erasures: [{ erasureId }] });

    expect(await run(['erasures', '--contact', agency.barnaby])).toMatchObject({
      code: 3,
      stdout: '',
      stderr: expect.stringMatching(/^No proof of key [0-9a-f]{16} is of this contact\.\n$/),
    });
    const other = await run(['erasures', '--contact', agency.ottoline], {
      CRM_SCHEMA_ERASURE_KEY: randomBytes(32).toString('base64'),
    });
    expect(other).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/ \d+ proofs? of another key: ask with that one, too\.\n$/),
    });
    const without = await run(['erasures', '--contact', agency.ottoline], { CRM_SCHEMA_ERASURE_KEY: '' });
    expect(without).toMatchObject({ code: 1, stderr: expect.stringContaining('is not set') });
  });

  test('of an organisation that is back make --again exit with 3, with the command to run', async () => {
    const agency = await agencyWithOttoline(pool);
    const { organisationId } = agency;
    await run(['erase', ...person(agency), '--allow-production']);
    const { stdout } = await run(['erasures', '--json']);
    const proof = JSON.parse(stdout).erasures.find(
      (each: { organisationId: string }) => each.organisationId === organisationId,
    );
    const finishedAt = '2999-01-01T00:00:00.000000Z';
    const erasures = [{ ...proof, subject: 'organisation', finishedAt, records: [] }];
    const again = await run([
      'erase',
      '--again',
      await fileOf(JSON.stringify({ erasures })),
      '--allow-production',
    ]);
    expect(again).toMatchObject({
      code: 3,
      stdout: 'Read 1 proof.\nErased 0 again; 0 had not come back.\n',
      stderr: `Organisation ${organisationId} was erased, and is back: disconnect its CRMs, and run crm-schema organisation erase --organisation ${organisationId} --allow-production.\n`,
    });
  });

  test('of a person who came back are reported by --again, and nothing is erased', async () => {
    const agency = await agencyWithOttoline(pool);
    await run(['erase', ...person(agency), '--allow-production']);
    const { stdout } = await run(['erasures', '--json']);
    await contactExternalIdLink(pool, {
      organisationId: agency.organisationId,
      provider: 'reapit',
      entityType: 'contact',
      externalId: `NEW-${agency.ottoline}`,
      contactId: agency.ottoline,
    });
    const again = await run(['erase', '--again', await fileOf(stdout), '--allow-production']);
    expect(again).toMatchObject({ code: 0, stderr: '' });
    expect(again.stdout).toContain(
      `Linked to a record since their erasure, and left alone:\norganisation                          contact\n${agency.organisationId}  `,
    );
    expect(again.stdout).toContain(agency.ottoline);
    expect(await placesOf(pool, agency.ottoline)).toHaveLength(1);
    // The next tests repeat every proof of this database.
    await run(['erase', ...person(agency), '--allow-production']);
  });

  test('that meet a deadlock say that they can be run again', async () => {
    const agency = await agencyWithOttoline(pool);
    const logger = await pool.connect();
    try {
      await logger.query("set deadlock_timeout = '1h'");
      await logger.query('begin');
      const event = { direction: 'inbound', entityType: 'contact', externalId: 'OPEN' } as const;
      await syncLogRecord(logger, { ...agency.reapit, events: [{ ...event, status: 'success' }] });
      const erasure = run(['erase', ...person(agency), '--allow-production']);
      await vi.waitFor(async () => {
        const { rowCount } = await pool.query(
          "select from pg_locks where locktype = 'advisory' and classid = 1668443442 and not granted",
        );
        expect(rowCount).toBe(1);
      }, waiting);
      const linked = contactExternalIdLink(logger, {
        organisationId: agency.organisationId,
        provider: 'loop',
        entityType: 'contact',
        externalId: 'OPEN',
        contactId: agency.barnaby,
      });
      expect(await erasure).toMatchObject({
        code: 1,
        stdout: '',
        stderr:
          'Another transaction and this one waited for each other (40P01). Nothing was erased: run it again.\n',
      });
      expect(await linked).toMatchObject({ outcome: 'linked' });
      await logger.query('rollback');
    } finally {
      logger.release(true);
    }
  });

  test('that another session blocks are named by --again with that session', async () => {
    const agency = await agencyWithOttoline(pool);
    await run(['erase', ...person(agency), '--allow-production']);
    const { erasures } = JSON.parse((await run(['erasures', '--json'])).stdout);
    const file = await fileOf(
      JSON.stringify({
        erasures: erasures.filter(
          ({ organisationId }: { organisationId: string }) => organisationId === agency.organisationId,
        ),
      }),
    );
    await log(pool, agency.reapit, [{ internalId: agency.ottoline }]);
    const holder = await pool.connect();
    try {
      await holder.query('begin');
      await holder.query('select from crm_connections where id = $1 for update', [
        agency.reapit.connectionId,
      ]);
      const blocked = await run(['erase', '--again', file, '--allow-production'], {
        PGOPTIONS: '-c lock_timeout=700',
      });
      expect(blocked).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/proof \d+: blocked by process \d+ .*\(55P03\)/),
      });
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    expect((await run(['erase', '--again', file, '--allow-production'])).code).toBe(0);
    expect(await placesOf(pool, agency.ottoline)).toEqual([]);
  });

  test('of another key are counted by --again, which exits with 3', async () => {
    const agency = await agencyWithOttoline(pool);
    await run(['erase', ...person(agency), '--allow-production']);
    const { stdout } = await run(['erasures', '--json']);
    const { code, stderr } = await run(['erase', '--again', await fileOf(stdout), '--allow-production'], {
      CRM_SCHEMA_ERASURE_KEY: randomBytes(32).toString('base64'),
    });
    expect(code).toBe(3);
    expect(stderr).toMatch(/proofs? of another key/);
  });

  test('of which one fails are otherwise repeated by --again, which names it and exits with 1', async () => {
    const [stuck, other] = [await agencyWithOttoline(pool), await agencyWithOttoline(pool)];
    for (const agency of [stuck, other]) await run(['erase', ...person(agency), '--allow-production']);
    const { stdout } = await run(['erasures', '--json']);
    await log(pool, stuck.reapit, [{ internalId: stuck.ottoline }]);
    await log(pool, other.reapit, [{ internalId: other.ottoline }]);
    const { rows } = await pool.query(
      `insert into contact_external_id_changes (organisation_id, kind, from_contact_id, to_contact_id)
       values ($1, 'contacts_merged', $2, $3) returning id`,
      [stuck.organisationId, stuck.barnaby, stuck.ottoline],
    );
    const again = await run(['erase', '--again', await fileOf(stdout), '--allow-production']);
    await pool.query('delete from contact_external_id_changes where id = $1', [rows[0].id]);
    expect(again).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^Erased 1 again; /m),
      stderr: expect.stringMatching(
        /1 proof could not be repeated: proof \d+: contact .* is merged into .* here, and .* was not erased\. Undo merge .* \(contactMergeUndo\).* \(CRM04\)\.\n$/,
      ),
    });
    expect(await placesOf(pool, other.ottoline)).toEqual([]);
  });

  test('of a person whose organisation was erased later are counted by --again', async () => {
    const key = ErasureKey.parse(secret);
    const organisationId = randomUUID();
    const proof = { organisationId, erasedBy: 'test', keyId: key.id, counts: {} };
    const erasures = [
      {
        ...proof,
        erasureId: '1',
        subject: 'contact',
        erasedAt: '2026-11-01T00:00:00.000000Z',
        finishedAt: '2026-11-01T00:00:00.000000Z',
        subjectHashes: [key.hashContact(organisationId, randomUUID()).toString('hex')],
        records: [{ hash: '0'.repeat(64), account: null }],
      },
      {
        ...proof,
        erasureId: '2',
        subject: 'organisation',
        erasedAt: '2026-11-02T00:00:00.000000Z',
        finishedAt: '2026-11-02T00:00:01.000000Z',
        subjectHashes: [key.hashOrganisation(organisationId).toString('hex')],
        records: [],
      },
    ];
    const again = await run([
      'erase',
      '--again',
      await fileOf(JSON.stringify({ erasures })),
      '--allow-production',
    ]);
    expect(again).toEqual({
      code: 0,
      stdout:
        'Read 2 proofs.\nErased 0 again; 0 had not come back.\nOf organisations that were erased later: 1.\n',
      stderr: '',
    });
  });

  test.each([
    ['a file that is not JSON', 'personal data', 'is not what crm-schema contact erasures --json prints'],
    [
      'a file with something else',
      '{"erasures":[{"subject":"personal data"}]}',
      'is not what crm-schema contact erasures --json prints',
    ],
    ['a file that is not a list of proofs', '{}', 'is not what crm-schema contact erasures --json prints'],
  ])('are not read from %s, which is not shown', async (_, text, message) => {
    const { code, stderr } = await run(['erase', '--again', await fileOf(text), '--allow-production']);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining(message) });
    expect(stderr).not.toContain('personal data');
  });

  test('make --again exit with 3 if the file has none, as one from after the restore', async () => {
    const file = await fileOf('{"erasures": []}');
    expect(await run(['erase', '--again', file, '--allow-production'])).toEqual({
      code: 3,
      stdout: '',
      stderr: expect.stringMatching(/^The file has no proofs: take the last one from before the restore/),
    });
  });

  test('are not read from a file that is missing', async () => {
    const { code, stderr } = await run(['erase', '--again', '/nowhere', '--allow-production']);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('(ENOENT)') });
  });
});

describe('where the owner may not read all of the host’s contacts', () => {
  const logins = useLogins();
  const installation = useInstallation(logins);
  const asOwner = { DATABASE_URL: installation.url, PGOPTIONS: `-c role=${logins.owner}` };
  beforeAll(() => migrateTo(installation, logins));

  test.each([
    ['without SELECT', 'revoke select on contacts from %s'],
    [
      'with row-level security',
      'grant select (id, organisation_id) on contacts to %s; alter table contacts enable row level security',
    ],
  ])('--again exits with 3 and says so, %s', async (_, change) => {
    await installation.pool.query('alter table contacts owner to current_user');
    const agency = await agencyWithOttoline(installation.pool);
    expect(await run(['erase', ...person(agency), '--allow-production'], asOwner)).toMatchObject({ code: 0 });
    const file = await fileOf((await run(['erasures', '--json'], asOwner)).stdout);
    await installation.pool.query(change.replace('%s', logins.owner));
    expect(await run(['erase', '--again', file, '--allow-production'], asOwner)).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/^contacts was not searched, because this user may not read all of it/),
    });
  });
});

test.each([
  ['contact', 'erase'],
  ['contact', 'erasures'],
  ['organisation', 'erase'],
])('the help of %s %s fits in 80 columns', async (...command) => {
  const { stdout } = await runCli([...command, '--help'], { COLUMNS: '80' });
  expect(stdout).toContain('CRM_SCHEMA_ERASURE_KEY');
  expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
});
