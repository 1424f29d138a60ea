import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../poolers/pooler.js';
import { readExample } from './configuration.js';
import { programs } from './programs.js';

/** An alert that Prometheus shows or Alertmanager has sent. */
export interface ShownAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** The SQL exporter, Prometheus and Alertmanager, with the files of examples/monitoring, on loopback. */
export interface MonitoringStack {
  /** The alerts that fire now, by Prometheus' account. */
  firing(): Promise<ShownAlert[]>;
  /** The names of the alerts of which each receiver of Alertmanager has been told. */
  readonly told: ReadonlyMap<string, ReadonlySet<string>>;
  /** What an expression of Prometheus yields, one number a series. */
  query(expression: string): Promise<number[]>;
  stopExporter(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts all three as examples/monitoring configures them, but with intervals of a second, without the time for which
 * an alert must last before it fires, and with a receiver that notes what it is told instead of sending mail.
 */
export async function startMonitoring(monitorUrl: string): Promise<MonitoringStack> {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-monitoring-'));
  const [exporterPort, prometheusPort, alertmanagerPort] = [
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  const told = new Map<string, Set<string>>();
  const receiver = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const name = (request.url ?? '').slice(1);
    const names = (JSON.parse(body).alerts as ShownAlert[]).map(({ labels }) => labels.alertname ?? '');
    told.set(name, new Set([...(told.get(name) ?? []), ...names]));
    response.end();
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const { port: receiverPort } = receiver.address() as AddressInfo;

  const files: Record<string, string> = {
    'sql-exporter.yml': (await readExample('sql-exporter.yml')).replace(/interval: \dm$/gm, 'interval: 1s'),
    'alerts.yml': (await readExample('alerts.yml')).replace(/for: \w+$/gm, 'for: 0s'),
    'prometheus.yml': (await readExample('prometheus.yml'))
      .replace(/_interval: 30s$/gm, '_interval: 1s')
      .replace('localhost:9093', `127.0.0.1:${alertmanagerPort}`)
      .replace('localhost:9237', `127.0.0.1:${exporterPort}`),
    'alertmanager.yml': (await readExample('alertmanager.yml'))
      .replace('route:\n', 'route:\n  group_wait: 0s\n  group_interval: 1s\n')
      .replace(
        /- name: (.*)\n {4}email_configs:\n {6}- to: .*$/gm,
        (_, name) =>
          `- name: ${name}\n    webhook_configs:\n      - url: http://127.0.0.1:${receiverPort}/${name}`,
      ),
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);

  const start = (path: string, args: string[], env = {}) => new Service(path, args, folder, env);
  const exporter = start(
    programs.exporter,
    ['-config.file', 'sql-exporter.yml', '-web.listen-address', `127.0.0.1:${exporterPort}`],
    { MONITOR_URL: monitorUrl },
  );
  const alertmanager = start(programs.alertmanager, [
    '--config.file=alertmanager.yml',
    '--storage.path=alertmanager',
    `--web.listen-address=127.0.0.1:${alertmanagerPort}`,
    '--cluster.listen-address=',
  ]);
  const prometheus = start(programs.prometheus, [
    '--config.file=prometheus.yml',
    '--storage.tsdb.path=prometheus',
    `--web.listen-address=127.0.0.1:${prometheusPort}`,
  ]);
  const services = [exporter, alertmanager, prometheus];
  const api = `http://127.0.0.1:${prometheusPort}/api/v1`;
  // biome-ignore lint/suspicious/noExplicitAny: as Prometheus answers.
  const read = async (path: string): Promise<any> => {
    const answer = (await (await fetch(`${api}/${path}`)).json()) as { data: unknown };
    return answer.data;
  };

  await exporter.isReady(`http://127.0.0.1:${exporterPort}/metrics`);
  await alertmanager.isReady(`http://127.0.0.1:${alertmanagerPort}/-/ready`);
  await prometheus.isReady(`http://127.0.0.1:${prometheusPort}/-/ready`);
  return {
    told,
    async firing() {
      const { alerts } = await read('alerts');
      return alerts.filter(({ state }: { state: string }) => state === 'firing');
    },
    async query(expression) {
      const { result } = await read(`query?query=${encodeURIComponent(expression)}`);
      return result.map(({ value: [, number] }: { value: [number, string] }) => Number(number));
    },
    stopExporter: () => exporter.stop(),
    async stop() {
      for (const service of services) await service.stop();
      receiver.closeAllConnections();
      receiver.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** A program that runs until it is stopped, or this process ends. */
class Service {
  readonly #child: ChildProcess;
  readonly #path: string;
  readonly #kill = () => this.#child.kill('SIGKILL');
  #output = '';

  constructor(path: string, args: string[], folder: string, env: Record<string, string>) {
    this.#path = path;
    this.#child = spawn(path, args, {
      cwd: folder,
      env: { ...env, LOGLEVEL: 'warn' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (text) => {
        this.#output += text;
      });
    }
    process.once('exit', this.#kill);
  }

  async isReady(url: string): Promise<void> {
    while (
      !(await fetch(url).then(
        ({ ok }) => ok,
        () => false,
      ))
    ) {
      if (this.#hasEnded) throw new Error(`${this.#path} did not start.\n${this.#output}`);
      await sleep(100);
    }
  }

  async stop(): Promise<void> {
    process.removeListener('exit', this.#kill);
    if (this.#hasEnded) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  get #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}
