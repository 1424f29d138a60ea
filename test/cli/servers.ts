import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { expect } from 'vitest';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { findProgram, isMissing } from '../support/programs.js';

/** Whether `openssl`, which makes the certificate, is missing. */
export const noOpenssl = isMissing('openssl', findProgram('openssl'), 'TEST_REQUIRE_OPENSSL');

/**
 * Starts a server that accepts only TLS, with a self-signed certificate.
 *
 * @returns the server, and the path of the certificate
 */
export async function startTlsServer(): Promise<{
  server: EmbeddedPostgres;
  certificate: string;
  stop(): Promise<void>;
}> {
  const folder = mkdtempSync(join(tmpdir(), 'crm-schema-tls-'));
  const [certificate, key, rules] = ['server.crt', 'server.key', 'pg_hba.conf'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  execFileSync(
    findProgram('openssl') as string,
    [
      ...['req', '-new', '-x509', '-nodes', '-days', '2', '-newkey', 'rsa:2048'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'],
      ...['-keyout', key, '-out', certificate],
    ],
    { stdio: 'ignore' },
  );
  writeFileSync(rules, 'hostssl all all 127.0.0.1/32 scram-sha-256\n');
  chmodSync(folder, 0o755);
  // Under root, the server runs as nobody, who must own the key.
  if (process.getuid?.() === 0) {
    const id = (flag: string) => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }));
    for (const path of [key, rules]) chownSync(path, id('-u'), id('-g'));
  }
  chmodSync(key, 0o600);
  const settings = { ssl: 'on', ssl_cert_file: certificate, ssl_key_file: key, hba_file: rules };
  const server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION, { settings });
  return {
    server,
    certificate,
    async stop() {
      await server.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

/**
 * Starts a server and turns it into a replica that waits for a primary that does not exist.
 *
 * @param answers whether it accepts reads; if not, it starts up for ever
 * @param prepare fills the database first
 */
export async function startReplica(
  answers: boolean,
  prepare: (client: pg.Client) => Promise<void>,
): Promise<EmbeddedPostgres> {
  const settings = { hot_standby: answers ? 'on' : 'off', restart_after_crash: 'on' };
  const server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION, { settings });
  const client = new pg.Client({ connectionString: server.url });
  client.on('error', () => {});
  await client.connect();
  await prepare(client);
  await client.query('checkpoint');
  const { rows } = await client.query(
    "select pg_backend_pid() as pid, current_setting('data_directory') || '/standby.signal' as signal",
  );
  await client.query(`copy (select) to '${rows[0].signal}'`);
  // When a session crashes, the server restarts and finds that it is a replica.
  process.kill(rows[0].pid, 'SIGKILL');
  await expect
    .poll(async () => {
      const probe = new pg.Client({ connectionString: server.url });
      probe.on('error', () => {});
      try {
        await probe.connect();
        const found = await probe.query('select pg_is_in_recovery() as is');
        return found.rows[0].is ? 'replica' : 'primary';
      } catch (error) {
        return (error as { code?: string }).code;
      } finally {
        await probe.end().catch(() => {});
      }
    })
    .toBe(answers ? 'replica' : '57P03');
  return server;
}

/** A proxy between a client and a server that changes what it passes on. */
export interface Meddler {
  /** The given URL, through the proxy. */
  readonly url: string;
  stop(): void;
}

/**
 * Starts a proxy.
 *
 * @param meddle receives each piece sent to the server, and returns what to pass on; null cuts the connection
 * @param answer receives each piece that the server sends, and returns what to pass on
 */
export async function startMeddler(
  url: string,
  meddle: (sent: string) => string | null,
  answer: (received: Buffer) => Buffer = (received) => received,
): Promise<Meddler> {
  const { hostname, port } = new URL(url);
  const sockets = new Set<Socket>();
  const listener = createServer((client) => {
    const server = connect(Number(port), hostname);
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        client.destroy();
        server.destroy();
      });
    }
    server.on('data', (piece) => client.write(answer(piece)));
    server.on('end', () => client.end());
    client.on('data', (piece) => {
      const passed = meddle(piece.toString('latin1'));
      if (passed === null) client.destroy();
      else server.write(passed, 'latin1');
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const by = new URL(url);
  by.port = String((listener.address() as AddressInfo).port);
  return {
    url: by.href,
    stop() {
      listener.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Starts a proxy that announces another process than the server's, as a pooler does. */
export function startPooler(url: string): Promise<Meddler> {
  return startMeddler(
    url,
    (sent) => sent,
    (received) => {
      // BackendKeyData: the process id comes after the message's type and length.
      const at = received.indexOf(Buffer.from([0x4b, 0, 0, 0, 12]));
      if (at !== -1) received.writeInt32BE(1, at + 5);
      return received;
    },
  );
}
