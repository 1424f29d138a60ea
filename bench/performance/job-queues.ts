import { timedTogether, type Way } from './harness.js';
import type { Scope } from './scope.js';

/** Each call of each worker does a job. */
type Run = (workers: number, calls: number) => Way;

/** A queue of pg-boss, whose jobs are fetched and completed one by one. */
export async function loadPgBoss(scope: Scope, jobs: number): Promise<Run> {
  const { PgBoss } = await scope.bench.peers.load('pg-boss');
  const connectionString = await scope.emptyDatabase();
  const boss = new PgBoss({
    connectionString,
    max: scope.bench.size.workers,
    supervise: false,
    schedule: false,
  });
  // An idle client may lose its connection when the database is dropped.
  boss.on('error', () => {});
  await boss.start();
  scope.atEnd(() => boss.stop({ graceful: false, close: true }));
  await boss.createQueue('sync');
  for (let from = 0; from < jobs; from += 10_000) {
    await boss.insert(
      'sync',
      Array.from({ length: Math.min(10_000, jobs - from) }, (_, number) => ({ data: { number } })),
    );
  }
  await (await scope.connect(connectionString)).query('vacuum analyze');
  return (workers, calls) =>
    timedTogether(workers, calls, async () => {
      const [job] = await boss.fetch('sync');
      await boss.complete('sync', job.id);
    });
}

/** A queue of graphile-worker, whose jobs are empty. Measured from the start of the first one. */
export async function loadGraphileWorker(scope: Scope, jobs: number): Promise<Run> {
  const { run, runMigrations, Logger } = await scope.bench.peers.load('graphile-worker');
  const connectionString = await scope.emptyDatabase();
  const logger = new Logger(() => () => {});
  await runMigrations({ connectionString, logger });
  const client = await scope.connect(connectionString);
  await client.query(
    `select count(*) from graphile_worker.add_jobs(array(
       select row('sync', json_build_object('number', number), null, null, null, null, null, null)::graphile_worker.job_spec
       from generate_series(1, $1::integer) as number
     ))`,
    [jobs],
  );
  await client.query('vacuum analyze');
  return (workers, calls) => async () => {
    const count = workers * calls;
    let [done, start, end] = [0, 0, 0];
    await new Promise<void>((resolve, reject) => {
      const sync = async () => {
        if (start === 0) start = performance.now();
        done += 1;
        if (done !== count + 1) return;
        end = performance.now();
        resolve(runner.then(({ stop }: { stop(): Promise<void> }) => stop()));
      };
      const runner = run({
        connectionString,
        logger,
        concurrency: workers,
        noHandleSignals: true,
        maxPoolSize: workers + 1,
        taskList: { sync },
      });
      runner.catch(reject);
    });
    return (end - start) / count;
  };
}
