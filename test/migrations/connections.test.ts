import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { FlattenedEncrypt, type FlattenedJWE, GeneralEncrypt, generateKeyPair } from 'jose';
import { beforeAll, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { checkEncryptedCredentials } from '../../src/connections/encrypted-credentials.js';
import {
  type ConnectionStatus,
  connectionStatuses,
  credentialsAad,
  type Provider,
  providers,
} from '../../src/index.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant, insert, rolledBack, useDatabase } from '../support/database.js';
import {
  expectCheck,
  expectRefused,
  impossibleTimes,
  outermostTimes,
  restricted,
} from '../support/refusals.js';

const { pool, url } = useDatabase();

type Row = Record<string, unknown>;

async function newOrganisation(): Promise<string> {
  return (await createTenant(pool)).organisationId;
}

/** A valid row with new ids and its own credentials, changed by `overrides`. */
async function connectionRow(overrides: Row = {}): Promise<Row> {
  const organisationId = (overrides.organisation_id as string) ?? (await newOrganisation());
  const provider = (overrides.provider as Provider) ?? 'reapit';
  const id = (overrides.id as string) ?? randomUUID();
  return {
    organisation_id: organisationId,
    id,
    provider,
    credentials: await encryptCredentials({
      organisationId,
      connectionId: id,
      provider: providers.includes(provider) ? provider : 'reapit',
    }),
    ...overrides,
  };
}

async function addConnection(overrides: Row = {}): Promise<Row> {
  return insert(pool, 'crm_connections', await connectionRow(overrides));
}

const ended = { status: 'disconnected', credentials: null, disconnected_at: '2026-11-20T10:00:00Z' };
const failed = { status: 'error', status_reason: 'The password was changed.' };

describe('provider, status and null', () => {
  test.each(providers)('accepts the provider %s', async (provider) => {
    expect(await addConnection({ provider })).toMatchObject({ provider, status: 'active' });
  });

  test.each(['', 'Reapit', ' reapit', 'reapit ', 'salesforce', 'agent os', "o'brien"])(
    'refuses the provider "%s"',
    async (provider) => {
      await expectCheck(addConnection({ provider, ...ended }), 'crm_connections_provider_check');
    },
  );

  test.each(['', 'ACTIVE', 'paused', 'failure'])('refuses the status "%s"', async (status) => {
    await expectCheck(addConnection({ status }), 'crm_connections_status_check');
  });

  test.each([
    'organisation_id',
    'id',
    'provider',
    'status',
    'status_changed_at',
    'connected_at',
    'credentials_version',
  ])('refuses null in %s', async (column) => {
    const row = { ...(await connectionRow()), [column]: null };
    await expectRefused(insert(pool, 'crm_connections', row), { code: '23502' });
  });
});

describe('status and the columns that depend on it', () => {
  const yesOrNo = [false, true];
  const combinations = connectionStatuses.flatMap((status) =>
    yesOrNo.flatMap((reason) =>
      yesOrNo.flatMap((end) =>
        yesOrNo.flatMap((credentials) =>
          yesOrNo.map((expiry) => ({ status, reason, end, credentials, expiry })),
        ),
      ),
    ),
  );

  /** The rule: what each status requires of the other columns. */
  const allowed: Record<ConnectionStatus, (combination: (typeof combinations)[number]) => boolean> = {
    active: ({ reason, end, credentials }) => !reason && !end && credentials,
    error: ({ reason, end, credentials }) => reason && !end && credentials,
    disconnected: ({ end, credentials, expiry }) => end && !credentials && !expiry,
  };

  test('accepts or refuses every combination as the status requires', async () => {
    const organisation_id = await newOrganisation();
    expect(combinations).toHaveLength(48);
    for (const combination of combinations) {
      const row = await connectionRow({ organisation_id });
      const accepted = await insert(pool, 'crm_connections', {
        ...row,
        status: combination.status,
        status_reason: combination.reason ? 'Because.' : null,
        disconnected_at: combination.end ? '2026-11-20T10:00:00Z' : null,
        credentials: combination.credentials ? row.credentials : null,
        credentials_expires_at: combination.expiry ? '2026-11-20T10:00:00Z' : null,
      }).then(
        () => true,
        (error) => {
          expect(error).toMatchObject({ code: '23514' });
          return false;
        },
      );
      expect(accepted, JSON.stringify(combination)).toBe(allowed[combination.status](combination));
      if (accepted)
        await pool.query('delete from crm_connections where organisation_id = $1', [organisation_id]);
    }
  });

  test.each([
    [
      'a live connection with disconnected_at',
      { disconnected_at: '2026-11-20T10:00:00Z' },
      'crm_connections_disconnected_iff_disconnected_at_check',
    ],
    [
      'a disconnected connection without disconnected_at',
      { ...ended, disconnected_at: null },
      'crm_connections_disconnected_iff_disconnected_at_check',
    ],
    [
      'a live connection without credentials',
      { credentials: null },
      'crm_connections_no_credentials_iff_wiped_check',
    ],
    [
      'a connection in error without credentials',
      { ...failed, credentials: null },
      'crm_connections_no_credentials_iff_wiped_check',
    ],
    ['an error without a reason', { status: 'error' }, 'crm_connections_error_has_reason_check'],
    [
      'an active connection with a reason',
      { status_reason: 'Old.' },
      'crm_connections_active_has_no_reason_check',
    ],
    [
      'an expiry without credentials',
      { ...ended, credentials_expires_at: '2026-11-20T10:00:00Z' },
      'crm_connections_expiry_has_credentials_check',
    ],
    ['an empty reason', { ...failed, status_reason: '' }, 'crm_connections_status_reason_length_check'],
    [
      'a reason of tabs and line breaks',
      { ...failed, status_reason: '\t\r\n\f\v' },
      'crm_connections_status_reason_length_check',
    ],
    ['a blank reason', { ...failed, status_reason: '   ' }, 'crm_connections_status_reason_length_check'],
    [
      'a reason of 501 characters',
      { ...failed, status_reason: 'x'.repeat(501) },
      'crm_connections_status_reason_length_check',
    ],
    ['version 0', { credentials_version: 0 }, 'crm_connections_credentials_version_check'],
    ['version -1', { credentials_version: -1 }, 'crm_connections_credentials_version_check'],
  ])('refuses %s', async (_, overrides, constraint) => {
    await expectCheck(addConnection(overrides), constraint);
  });

  test('refuses a disconnected connection that still has credentials', async () => {
    const row = await connectionRow();
    await expectCheck(
      insert(pool, 'crm_connections', { ...row, ...ended, credentials: row.credentials }),
      'crm_connections_no_credentials_iff_wiped_check',
    );
  });

  const pending = { ...ended, revocation: 'pending', revoke_before_at: '2026-11-20T11:00:00Z' };

  test('a disconnected connection keeps its credentials while they wait to be revoked', async () => {
    const row = await connectionRow();
    await insert(pool, 'crm_connections', { ...row, ...pending, credentials: row.credentials });
  });

  test.each([
    ['a pending revocation without credentials', pending, 'no_credentials_iff_wiped'],
    [
      'a revocation of a live connection',
      { revocation: 'revoked', revoke_before_at: '2026-11-20T11:00:00Z' },
      'revocation_is_disconnected',
    ],
    ['a revocation without an end', { ...ended, revocation: 'revoked' }, 'revocation_has_end'],
    [
      'an end without a revocation',
      { ...ended, revoke_before_at: '2026-11-20T11:00:00Z' },
      'revocation_has_end',
    ],
    [
      'an unknown revocation',
      { ...ended, revocation: 'soon', revoke_before_at: '2026-11-20T11:00:00Z' },
      'revocation',
    ],
    ...impossibleTimes.map((time): [string, Row, string] => [
      `a revocation until ${time}`,
      { ...ended, revocation: 'revoked', revoke_before_at: time },
      'revoke_before_at_in_range',
    ]),
  ])('refuses %s', async (_, overrides, constraint) => {
    await expectCheck(addConnection(overrides), `crm_connections_${constraint}_check`);
  });

  test.each(['revoked', 'expired'])(
    'refuses a revocation that is %s and still has credentials',
    async (revocation) => {
      const row = await connectionRow();
      await expectCheck(
        insert(pool, 'crm_connections', { ...row, ...pending, revocation, credentials: row.credentials }),
        'crm_connections_no_credentials_iff_wiped_check',
      );
    },
  );

  test.each([
    ['one character', '!'],
    ['500 emoji', '🏡'.repeat(500)],
    ['quotes', `"It's" \\ $1`],
  ])('accepts a reason of %s', async (_, status_reason) => {
    expect(await addConnection({ ...failed, status_reason })).toMatchObject({ status_reason });
  });

  test('a disconnected connection can keep a reason', async () => {
    await addConnection({ ...ended, status_reason: 'The agency left Reapit.' });
  });
});

describe('times', () => {
  const columns: [string, Row][] = [
    ['status_changed_at', {}],
    ['credentials_expires_at', {}],
    ['last_synced_at', {}],
    ['connected_at', {}],
    ['disconnected_at', ended],
  ];

  describe.each(columns)('%s', (column, others) => {
    test.each(impossibleTimes)('refuses %s', async (time) => {
      await expectCheck(addConnection({ ...others, [column]: time }), 'crm_connections_times_in_range_check');
    });

    test.each(outermostTimes)('accepts %s', async (time) => {
      await addConnection({ ...others, [column]: time });
    });
  });
});

describe('the shape of credentials', () => {
  let row: Row;
  let sound: Record<string, unknown>;
  beforeAll(async () => {
    row = await connectionRow();
    sound = row.credentials as Record<string, unknown>;
  });

  const isJwe = 'crm_connections_credentials_is_jwe_check';

  const refusedShape = expect.stringMatching(/^crm_connections_credentials_(is_jwe|bound_to_row)_check$/);

  const members = ['protected', 'header', 'encrypted_key', 'iv', 'ciphertext', 'tag', 'aad'];
  const texts = members.filter((member) => member !== 'header');
  const json = fc.jsonValue({ maxDepth: 2 });

  type Jwe = Record<string, unknown>;

  /** A way to make valid credentials invalid. */
  const flaw: fc.Arbitrary<(jwe: Jwe) => unknown> = fc.oneof(
    fc.constantFrom(...members).map(
      (member) =>
        ({ [member]: _, ...rest }: Jwe) =>
          rest,
    ),
    fc
      .record({ member: fc.constantFrom(...members), name: fc.string({ maxLength: 12 }) })
      .filter(({ name }) => !members.includes(name))
      .map(({ member, name }) => ({ [member]: value, ...rest }: Jwe) => ({ ...rest, [name]: value })),
    fc
      .record({ name: fc.string({ maxLength: 12 }), value: json })
      .filter(({ name }) => !members.includes(name))
      .map(({ name, value }) => (jwe: Jwe) => ({ ...jwe, [name]: value })),
    fc
      .record({ member: fc.constantFrom(...texts), value: json.filter((value) => typeof value !== 'string') })
      .map(({ member, value }) => (jwe: Jwe) => ({ ...jwe, [member]: value })),
    fc
      .record({
        member: fc.constantFrom(...texts),
        at: fc.nat(1000),
        intruder: fc.constantFrom('+', '/', '=', '.', ' ', '\n', '"', 'é', '🏡', '{', '%'),
      })
      .map(({ member, at, intruder }) => (jwe: Jwe) => {
        const text = jwe[member] as string;
        const position = at % (text.length + 1);
        return { ...jwe, [member]: text.slice(0, position) + intruder + text.slice(position) };
      }),
    fc.constantFrom(...texts).map((member) => (jwe: Jwe) => ({ ...jwe, [member]: '' })),
    fc
      .record({ member: fc.constantFrom('iv', 'tag'), length: fc.integer({ min: 0, max: 40 }) })
      .map(({ member, length }) => (jwe: Jwe) => ({
        ...jwe,
        [member]: 'A'.repeat(length === String(jwe[member]).length ? 1 : length),
      })),
    fc
      .record({ name: fc.string({ maxLength: 8 }).filter((name) => name !== 'kid'), value: json })
      .map(({ name, value }) => (jwe: Jwe) => ({
        ...jwe,
        header: { ...(jwe.header as object), [name]: value },
      })),
    fc
      .oneof(
        json,
        fc.record({ kid: json.filter((value) => typeof value !== 'string') }),
        fc.record({ kid: fc.constantFrom('', ' ', 'a b', 'k\n', 'clé', `k'`, 'k/1', 'x'.repeat(201)) }),
      )
      .map((header) => (jwe: Jwe) => ({ ...jwe, header })),
    // Other values: plaintext objects as an application has them, arrays, scalars and JSON null.
    json.map((value) => () => value),
    fc.array(json, { maxLength: 7 }).map((values) => () => values),
    fc
      .record(
        { apiKey: fc.string(), clientSecret: fc.string(), refreshToken: fc.string() },
        { requiredKeys: ['apiKey'] },
      )
      .map((plain) => () => plain),
    fc.record({ apiKey: fc.string() }).map((plain) => (jwe: Jwe) => ({ ...jwe, ...plain })),
  );

  test('refuses 10,000 values that are almost a JWE', async () => {
    await withClient(url, async (client) => {
      await insert(client, 'crm_connections', row);
      // In one statement, to save a round trip for each refusal.
      await client.query(
        `create function pg_temp.refusal(attempt jsonb) returns text language plpgsql as $$
         declare violated text;
         begin
           update crm_connections set credentials = attempt where id = '${row.id}';
           return 'accepted';
         exception when check_violation then
           get stacked diagnostics violated = constraint_name;
           return violated;
         end $$`,
      );
      const refusals = async (values: unknown[]) => {
        const { rows } = await client.query(
          'select pg_temp.refusal(value) as refusal from unnest($1::jsonb[]) as value',
          [values.map((value) => JSON.stringify(value))],
        );
        return rows.map(({ refusal }) => refusal as string);
      };
      expect(await refusals([sound])).toEqual(['accepted']);
      const found = await refusals(fc.sample(flaw, 10_000).map((spoil) => spoil(sound)));
      expect(found).toHaveLength(10_000);
      for (const refusal of found) expect(refusal).toEqual(refusedShape);
    });
  });

  test('the package refuses the same 10,000 values before it sends them', () => {
    const owner = {
      organisationId: row.organisation_id as string,
      connectionId: row.id as string,
      provider: 'reapit',
    } as const;
    expect(checkEncryptedCredentials(owner, sound)).toEqual(sound);
    for (const spoil of fc.sample(flaw, 10_000)) {
      // As the database receives it.
      const wrong = JSON.parse(JSON.stringify(spoil(sound)) ?? 'null');
      expect(() => checkEncryptedCredentials(owner, wrong), JSON.stringify(wrong)).toThrow(/^credentials/);
    }
  });

  test.each<[string, (jwe: Record<string, unknown>) => unknown]>([
    ['plaintext credentials', () => ({ username: 'agency', password: 'open sesame' })],
    ['JSON null', () => null],
    ['an empty object', () => ({})],
    ['an array that contains the JWE', (jwe) => [jwe]],
    [
      'compact serialisation',
      (jwe) => `${jwe.protected}.${jwe.encrypted_key}.${jwe.iv}.${jwe.ciphertext}.${jwe.tag}`,
    ],
    ['an empty ciphertext', (jwe) => ({ ...jwe, ciphertext: '' })],
    ['a ciphertext of more than 16 KiB', (jwe) => ({ ...jwe, ciphertext: 'A'.repeat(16385) })],
    ['an unencoded protected header', (jwe) => ({ ...jwe, protected: '{"alg":"A256KW"}' })],
    ['a protected header that is not a JSON object', (jwe) => ({ ...jwe, protected: 'AAAA' })],
    ['a protected header of 1001 characters', (jwe) => ({ ...jwe, protected: `eyJ${'A'.repeat(998)}` })],
    ['a wrapped key of 21 characters', (jwe) => ({ ...jwe, encrypted_key: 'A'.repeat(21) })],
    ['a wrapped key of 1367 characters', (jwe) => ({ ...jwe, encrypted_key: 'A'.repeat(1367) })],
    ['padding', (jwe) => ({ ...jwe, tag: `${jwe.tag}==` })],
    ['a line break at the end', (jwe) => ({ ...jwe, ciphertext: `${jwe.ciphertext}\n` })],
    ['no key id', (jwe) => ({ ...jwe, header: {} })],
    [
      'a key id beside a plaintext secret',
      (jwe) => ({ ...jwe, header: { kid: 'k', secret: 'open sesame' } }),
    ],
  ])('refuses %s', async (_, spoil) => {
    await expectCheck(
      insert(pool, 'crm_connections', {
        ...(await connectionRow()),
        credentials: JSON.stringify(spoil(sound)),
      }),
      refusedShape,
    );
    const { rows } = await pool.query('select crm_credentials_is_jwe($1) as sound', [
      JSON.stringify(spoil(sound)),
    ]);
    expect(rows).toEqual([{ sound: false }]);
  });

  test('names the shape constraint if credentials are bound to the row but malformed', async () => {
    const fresh = await connectionRow();
    const credentials = { ...(fresh.credentials as object), iv: 'short' };
    await expectCheck(insert(pool, 'crm_connections', { ...fresh, credentials }), isJwe);
  });

  test.each<[string, (jwe: Record<string, unknown>) => unknown]>([
    ['a ciphertext of 16 KiB', (jwe) => ({ ...jwe, ciphertext: 'A'.repeat(16384) })],
    ['a wrapped key of 8192 bits', (jwe) => ({ ...jwe, encrypted_key: 'A'.repeat(1366) })],
    ['a key id of 200 characters', (jwe) => ({ ...jwe, header: { kid: 'k'.repeat(200) } })],
    ['a key id like a URN', (jwe) => ({ ...jwe, header: { kid: 'urn:key:2026-11_v1.0' } })],
  ])('accepts %s', async (_, change) => {
    const fresh = await connectionRow();
    await insert(pool, 'crm_connections', {
      ...fresh,
      credentials: change(fresh.credentials as Record<string, unknown>),
    });
  });
});

describe('a JWE made by jose', () => {
  const secret = new Uint8Array(32).fill(7);

  async function encrypted(
    row: Row,
    alg: string,
    key: Parameters<FlattenedEncrypt['encrypt']>[0],
    enc = 'A256GCM',
  ): Promise<FlattenedJWE> {
    return new FlattenedEncrypt(new TextEncoder().encode('{"apiKey":"test"}'))
      .setProtectedHeader({ alg, enc })
      .setUnprotectedHeader({ kid: 'worker-key-1' })
      .setAdditionalAuthenticatedData(aadOf(row))
      .encrypt(key);
  }

  const aadOf = (row: Row) =>
    credentialsAad({
      organisationId: row.organisation_id as string,
      connectionId: row.id as string,
      provider: row.provider as Provider,
    });

  // jose puts the iv and tag of A256GCMKW, and the epk of ECDH-ES, into the protected header.
  test.each([
    ['A256KW', async () => secret],
    ['A256GCMKW', async () => secret],
    ['RSA-OAEP-256', async () => (await generateKeyPair('RSA-OAEP-256')).publicKey],
    ['ECDH-ES+A256KW', async () => (await generateKeyPair('ECDH-ES+A256KW')).publicKey],
    [
      'ECDH-ES+A256KW with X25519',
      async () => (await generateKeyPair('ECDH-ES+A256KW', { crv: 'X25519' })).publicKey,
    ],
  ])('is accepted with %s', async (name, makeKey) => {
    const alg = name.split(' ')[0] as string;
    const row = await connectionRow();
    const credentials = await encrypted(row, alg, await makeKey());
    expect(await insert(pool, 'crm_connections', { ...row, credentials })).toMatchObject({
      credentials,
      credentials_key_id: 'worker-key-1',
    });
  });

  test.each([
    ['a key that is used directly', 'dir', 'A256GCM', secret],
    ['content encryption with CBC', 'A256KW', 'A256CBC-HS512', secret],
  ])('is refused with %s', async (_, alg, enc, key) => {
    const row = await connectionRow();
    const credentials = await encrypted(row, alg, key, enc);
    await expectCheck(
      insert(pool, 'crm_connections', { ...row, credentials }),
      'crm_connections_credentials_is_jwe_check',
    );
  });

  test('is refused without an aad, and in general serialisation', async () => {
    const row = await connectionRow();
    const unbound = await new FlattenedEncrypt(new Uint8Array(9))
      .setProtectedHeader({ alg: 'A256KW', enc: 'A256GCM' })
      .setUnprotectedHeader({ kid: 'k' })
      .encrypt(secret);
    const general = await new GeneralEncrypt(new Uint8Array(9))
      .setProtectedHeader({ enc: 'A256GCM' })
      .setAdditionalAuthenticatedData(aadOf(row))
      .addRecipient(secret)
      .setUnprotectedHeader({ alg: 'A256KW', kid: 'k' })
      .encrypt();
    for (const credentials of [unbound, general]) {
      await expectCheck(
        insert(pool, 'crm_connections', { ...row, credentials }),
        'crm_connections_credentials_is_jwe_check',
      );
    }
  });
});

describe('the binding of credentials to their row', () => {
  const bound = 'crm_connections_credentials_bound_to_row_check';

  test('is computed alike by the database and the package', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uuid(),
        fc.uuid(),
        fc.constantFrom(...providers),
        fc.boolean(),
        async (organisationId, connectionId, provider, upper) => {
          const write = (id: string) => (upper ? id.toUpperCase() : id);
          const { rows } = await pool.query('select crm_credentials_aad($1, $2, $3) as aad', [
            organisationId,
            connectionId,
            provider,
          ]);
          const owner = {
            organisationId: write(organisationId),
            connectionId: write(connectionId),
            provider,
          };
          expect(rows[0].aad).toBe(Buffer.from(credentialsAad(owner)).toString('base64url'));
        },
      ),
      { numRuns: 200 },
    );
  });

  test('works for any future provider name, including backslashes and emoji', async () => {
    const id = '00000000-0000-4000-8000-00000000000f';
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.string({ unit: fc.constantFrom('\\', '0', '1', 'é', '🏡') }),
        ),
        async (provider) => {
          fc.pre(!provider.includes('\0'));
          const { rows } = await pool.query('select crm_credentials_aad($1, $1, $2) as aad', [id, provider]);
          const text = `nurturehub-crm:${id}:${id}:${provider}`;
          expect(rows[0].aad).toBe(Buffer.from(text).toString('base64url'));
        },
      ),
      { numRuns: 200 },
    );
  });

  test.each<[string, () => Promise<[Row, Row]>]>([
    [
      'another connection of the organisation',
      async () => {
        const organisation_id = await newOrganisation();
        return [await connectionRow({ organisation_id }), await connectionRow({ organisation_id })];
      },
    ],
    [
      'another organisation',
      async () => {
        const id = randomUUID();
        return [await connectionRow({ id }), await connectionRow({ id })];
      },
    ],
    [
      'another provider',
      async () => {
        const ids = { organisation_id: await newOrganisation(), id: randomUUID() };
        return [await connectionRow(ids), await connectionRow({ ...ids, provider: 'alto' })];
      },
    ],
  ])('refuses the credentials of %s', async (_, pair) => {
    const [row, other] = await pair();
    await expectCheck(insert(pool, 'crm_connections', { ...row, credentials: other.credentials }), bound);
  });

  test('refuses credentials copied from another row', async () => {
    const [from, to] = [await addConnection(), await addConnection()];
    await expectCheck(
      pool.query(
        'update crm_connections set credentials = (select credentials from crm_connections where id = $1) where id = $2',
        [from.id, to.id],
      ),
      bound,
    );
  });

  test.each(['organisation_id', 'id', 'provider'])(
    'refuses to change %s and keep the credentials',
    async (column) => {
      const { id } = await addConnection();
      const value = { organisation_id: await newOrganisation(), id: randomUUID(), provider: 'alto' }[column];
      await expectCheck(
        pool.query(`update crm_connections set ${column} = $1 where id = $2`, [value, id]),
        bound,
      );
    },
  );
});

describe('the key id', () => {
  test('changes with the credentials, and is null without them', async () => {
    const row = await addConnection();
    expect(row.credentials_key_id).toBe('test-key-1');
    const rotated = await encryptCredentials(
      {
        organisationId: row.organisation_id as string,
        connectionId: row.id as string,
        provider: 'reapit',
      },
      {},
      'test-key-2',
    );
    const changed = await pool.query(
      'update crm_connections set credentials = $1 where id = $2 returning credentials_key_id',
      [rotated, row.id],
    );
    expect(changed.rows[0].credentials_key_id).toBe('test-key-2');
    const wiped = await pool.query(
      `update crm_connections set status = 'disconnected', credentials = null, disconnected_at = now()
       where id = $1 returning credentials_key_id`,
      [row.id],
    );
    expect(wiped.rows[0].credentials_key_id).toBeNull();
  });

  test('cannot be set by hand', async () => {
    await expectRefused(addConnection({ credentials_key_id: 'forged' }), { code: '428C9' });
  });

  test('the credentials version starts at 1', async () => {
    expect(await addConnection()).toMatchObject({ credentials_version: 1 });
  });
});

describe('one live connection per organisation and provider', () => {
  const liveKey = { code: '23505', constraint: 'crm_connections_organisation_id_provider_live_key' };
  const live: [string, Row][] = [
    ['active', {}],
    ['error', failed],
  ];

  test.each(
    live.flatMap((first) => live.map((second) => [first[0], second[0], first[1], second[1]] as const)),
  )('beside a connection that is %s, refuses a second that is %s', async (_, __, first, second) => {
    const { organisation_id } = await addConnection(first);
    await expectRefused(addConnection({ organisation_id, ...second }), liveKey);
  });

  test('accepts one for each provider, and the same provider for another organisation', async () => {
    const organisation_id = await newOrganisation();
    for (const provider of providers) await addConnection({ organisation_id, provider });
    await addConnection();
  });

  test('accepts any number of disconnected connections, and a new live one', async () => {
    const organisation_id = await newOrganisation();
    for (let round = 0; round < 3; round += 1) await addConnection({ organisation_id, ...ended });
    await addConnection({ organisation_id });
    await addConnection({ organisation_id, ...ended });
  });

  test('refuses to reactivate a disconnected connection beside a live one', async () => {
    const old = await connectionRow();
    await insert(pool, 'crm_connections', { ...old, ...ended });
    await addConnection({ organisation_id: old.organisation_id });
    await expectRefused(
      pool.query(
        "update crm_connections set status = 'active', disconnected_at = null, credentials = $1 where id = $2",
        [old.credentials, old.id],
      ),
      liveKey,
    );
  });

  test('lets one of ten concurrent inserts succeed', async () => {
    const organisation_id = await newOrganisation();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, () => addConnection({ organisation_id })),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject(liveKey);
  });
});

describe('keys', () => {
  test('refuses a second connection with the same id in an organisation', async () => {
    const { organisation_id, id } = await addConnection();
    await expectRefused(addConnection({ organisation_id, id, provider: 'alto' }), {
      code: '23505',
      constraint: 'crm_connections_pkey',
    });
  });

  test('accepts the same id in another organisation', async () => {
    const { id } = await addConnection();
    await addConnection({ id });
  });

  test('refuses an organisation that does not exist', async () => {
    await expectRefused(addConnection({ organisation_id: randomUUID() }), {
      code: '23503',
      constraint: 'crm_connections_organisation_id_fkey',
    });
  });

  test.each([
    ['live', {}],
    ['disconnected', ended],
  ])('refuses to delete an organisation with a %s connection', async (_, overrides) => {
    const { organisation_id } = await addConnection(overrides);
    await expectRefused(pool.query('delete from organisations where id = $1', [organisation_id]), {
      code: restricted,
      constraint: 'crm_connections_organisation_id_fkey',
    });
  });

  test('an organisation without connections can be deleted', async () => {
    await rolledBack(pool, async (client) => {
      const { organisationId } = await createTenant(client);
      const { rowCount } = await client.query('delete from organisations where id = $1', [organisationId]);
      expect(rowCount).toBe(1);
    });
  });
});
