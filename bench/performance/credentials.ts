import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { EncryptedCredentials } from '../../src/index.js';
import { loadDueConnections } from './fleet.js';
import { type Row, timed } from './harness.js';
import type { Scope } from './scope.js';

/** What the rotation of all credentials costs, beside the cryptography alone. */
export async function* credentials(scope: Scope): AsyncGenerator<Row> {
  const { size } = scope.bench;
  const secrets = [randomBytes(32), randomBytes(32)] as const;
  const rotation = await rotate(scope, secrets);
  yield {
    work: `rotate ${size.credentials.toLocaleString('en')} credentials`,
    unit: 'ms',
    rounds: size.fewRounds,
    ours: rotation.way,
    beside: [
      {
        name: 'node:crypto alone, without a database',
        goal: { ratio: 0.4 },
        way: timed(1, async () => {
          for (const each of rotation.stored) rewrap(each, secrets);
        }),
      },
    ],
  };
}

/** Credentials of connections, and a way to rotate them: to the other of two keys each time. */
async function rotate(scope: Scope, secrets: readonly [Buffer, Buffer]) {
  const { ours, size } = scope.bench;
  const { KeyRing, credentialsRotate, encryptCredentials } = ours.credentials;
  const keys = secrets.map((secret, index) => ({
    kid: `key-${index}`,
    alg: 'A256KW' as const,
    kty: 'oct',
    k: secret.toString('base64url'),
  }));
  const rings = await Promise.all(keys.map(({ kid }) => KeyRing.parse({ current: kid, keys })));
  const { client } = await scope.database(ours);
  await loadDueConnections(client, size.credentials);
  const { rows } = await client.query<{ organisationId: string; connectionId: string }>(
    'select organisation_id as "organisationId", id as "connectionId" from crm_connections',
  );
  const stored: EncryptedCredentials[] = [];
  for (const { organisationId, connectionId } of rows) {
    const owner = { organisationId, connectionId, provider: 'reapit' } as const;
    const clear = {
      grant: 'authorization_code',
      refreshToken: 'bench-refresh'.repeat(4),
      accessToken: 'bench-access'.repeat(8),
    } as const;
    stored.push(await encryptCredentials(rings[0] as (typeof rings)[number], owner, clear));
  }
  await client.query(
    `update crm_connections set credentials = given.credentials
     from unnest($1::uuid[], $2::jsonb[]) as given (id, credentials)
     where crm_connections.id = given.id`,
    [rows.map(({ connectionId }) => connectionId), stored.map((each) => JSON.stringify(each))],
  );
  await client.query('vacuum analyze');
  let current = 0;
  const way = timed(1, async () => {
    current = 1 - current;
    const { rotated } = await credentialsRotate(client, rings[current] as (typeof rings)[number]);
    if (rotated !== rows.length) throw new Error(`${rotated} credentials were rotated.`);
  });
  return { stored, way };
}

/** RFC 3394, section 2.2.3.1. */
const keyWrapIv = Buffer.alloc(8, 0xa6);

/** Decrypts a JWE of A256KW and A256GCM with one key, and re-encrypts it with another. */
function rewrap(jwe: EncryptedCredentials, [from, to]: readonly [Buffer, Buffer]): object {
  const bytes = (text: string) => Buffer.from(text, 'base64url');
  const unwrap = createDecipheriv('id-aes256-wrap', from, keyWrapIv);
  const contentKey = Buffer.concat([unwrap.update(bytes(jwe.encrypted_key)), unwrap.final()]);
  const associated = Buffer.from(`${jwe.protected}.${jwe.aad}`);
  const decipher = createDecipheriv('aes-256-gcm', contentKey, bytes(jwe.iv));
  decipher.setAAD(associated).setAuthTag(bytes(jwe.tag));
  const plaintext = Buffer.concat([decipher.update(bytes(jwe.ciphertext)), decipher.final()]);

  const [newKey, iv] = [randomBytes(32), randomBytes(12)];
  const cipher = createCipheriv('aes-256-gcm', newKey, iv).setAAD(associated);
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  const wrap = createCipheriv('id-aes256-wrap', to, keyWrapIv);
  return {
    ...jwe,
    encrypted_key: Buffer.concat([wrap.update(newKey), wrap.final()]).toString('base64url'),
    iv: iv.toString('base64url'),
    ciphertext: ciphertext.toString('base64url'),
    tag: cipher.getAuthTag().toString('base64url'),
  };
}
