import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { noOdyssey, startOdyssey } from './odyssey.js';
import { minorVersion, noPgBouncer, startPgBouncer } from './pgbouncer.js';
import type { Pooler } from './pooler.js';

const url = inject('serverUrl');

/** A client that gives more parameters on connecting than pg's own configuration has. */
class Client extends pg.Client {
  constructor(
    pooler: Pooler,
    private readonly given: Record<string, string> = {},
  ) {
    super({ connectionString: pooler.through(url) });
    this.on('error', () => {});
  }

  getStartupConf(): Record<string, string> {
    const { getStartupConf } = pg.Client.prototype as unknown as { getStartupConf(this: pg.Client): object };
    return { ...getStartupConf.call(this), ...this.given };
  }
}

/** The value of a setting for a client that gives parameters on connecting, or the error's message. */
async function settingOf(name: string, pooler: Pooler, given?: Record<string, string>): Promise<string> {
  const client = new Client(pooler, given);
  try {
    await client.connect();
    const { rows } = await client.query('select current_setting($1, true) as value', [name]);
    return rows[0].value;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await client.end();
  }
}

/** The value of a setting for the next client, after one has set it for its session. */
async function afterSet(name: string, value: string, pooler: Pooler): Promise<string> {
  const client = new Client(pooler);
  await client.connect();
  try {
    await client.query(`set ${name} = '${value}'`);
    return await settingOf(name, pooler);
  } finally {
    await client.end();
  }
}

const initial = { search_path: '"$user", public', statement_timeout: '0', lock_timeout: '0' };

describe.skipIf(noPgBouncer)('PgBouncer', () => {
  let pooler: Pooler;
  beforeAll(async () => {
    pooler = await startPgBouncer({ connections: 1, users: [url] });
  });
  afterAll(() => pooler.stop());

  test.each(['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'])(
    'refuses %s on connecting',
    async (name) => {
      expect(await settingOf(name, pooler, { [name]: '5s' })).toMatch(
        `unsupported startup parameter: ${name}`,
      );
    },
  );

  test('refuses a setting that the server does not have', async () => {
    expect(await settingOf('work_mem', pooler, { crm_schema_none: '1' })).toMatch(
      'unsupported startup parameter: crm_schema_none',
    );
  });

  test('resets a setting of the session with server_reset_query_always', async () => {
    const resetting = await startPgBouncer({ connections: 1, users: [url] }, [
      'server_reset_query = discard all',
      'server_reset_query_always = 1',
    ]);
    try {
      expect(await afterSet('work_mem', '5MB', resetting)).not.toBe('5MB');
      expect(await afterSet('work_mem', '5MB', pooler)).toBe('5MB');
    } finally {
      await resetting.stop();
    }
  });

  test.each(['-c statement_timeout=5s', '-cstatement_timeout=5s'])(
    'refuses options=%s: all options before 1.20, and limits in every version',
    async (options) => {
      expect(await settingOf('statement_timeout', pooler, { options })).toMatch(
        minorVersion < 20
          ? 'unsupported startup parameter: options'
          : 'unsupported startup parameter in options: statement_timeout',
      );
    },
  );

  test.runIf(minorVersion < 20).each(['-c search_path=crm,public', '-csearch_path=crm,public'])(
    'refuses options=%s before 1.20',
    async (options) => {
      expect(await settingOf('search_path', pooler, { options })).toMatch(
        'unsupported startup parameter: options',
      );
    },
  );

  test.runIf(minorVersion >= 26).each(['-c search_path=crm,public', '-csearch_path=crm,public'])(
    '1.26 applies options=%s, and only for this client',
    async (options) => {
      expect(await settingOf('search_path', pooler, { options })).toBe('crm, public');
      expect(await settingOf('search_path', pooler)).toBe(initial.search_path);
    },
  );

  test('passes a search_path that was set for the session on, unless it is 1.26 before PostgreSQL 18 or later', async () => {
    const isTracked = minorVersion >= 26 && inject('serverMajorVersion') >= 18;
    const fresh = await startPgBouncer({ connections: 1, users: [url] });
    try {
      expect(await afterSet('search_path', 'pg_catalog', fresh)).toBe(
        isTracked ? initial.search_path : 'pg_catalog',
      );
      expect(await afterSet('statement_timeout', '7s', fresh)).toBe('7s');
    } finally {
      await fresh.stop();
    }
  });
});

describe.skipIf(noOdyssey).each([false, true])('Odyssey with pool_discard %s', (discards) => {
  let pooler: Pooler;
  beforeAll(async () => {
    pooler = await startOdyssey({ connections: 1, users: [url] }, { discards });
  });
  afterAll(() => pooler.stop());

  test.each(['statement_timeout', 'lock_timeout'] as const)(
    'applies %s on connecting, and without pool_discard passes it on',
    async (name) => {
      expect(await settingOf(name, pooler, { [name]: '5s' })).toBe('5s');
      expect(await settingOf(name, pooler)).toBe(discards ? initial[name] : '5s');
    },
  );

  test('applies limits in options, if there is a space after -c', async () => {
    const options = (text: string) => settingOf('statement_timeout', pooler, { options: text });
    expect(await options('-c statement_timeout=5s')).toBe('5s');
    expect(await options('-cstatement_timeout=6s')).not.toBe('6s');
  });

  test('turns options=-c search_path=crm,public into one schema', async () => {
    const options = '-c search_path=crm,public';
    expect(await settingOf('search_path', pooler, { options })).toBe('"crm,public"');
  });

  test('ignores a setting that the server does not have', async () => {
    expect(await settingOf('crm_schema_none', pooler, { crm_schema_none: '1' })).toBeNull();
    expect(await settingOf('crm_schema_none', pooler, { options: '-c crm_schema_none=1' })).toBeNull();
  });
});
