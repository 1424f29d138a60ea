import type { Queryable } from '../../src/index.js';
import { loadDueConnections, makeDue } from './fleet.js';
import { type Row, timedTogether, type Way } from './harness.js';
import { loadGraphileWorker, loadPgBoss } from './job-queues.js';
import type { Release } from './releases.js';
import type { Scope } from './scope.js';

/** What a claim of one connection costs, and a whole run, while thousands are due. */
export async function* claims(scope: Scope): AsyncGenerator<Row> {
  const { ours, size } = scope.bench;
  let smallest: Due | undefined;
  for (const connections of size.connections) {
    const due = await loadDue(scope, ours, connections);
    const theirs = await scope.earlier((release) => loadDue(scope, release, connections));
    const boss = await scope.peer('pg-boss', () => loadPgBoss(scope, connections));
    const graphile = await scope.peer('graphile-worker', () => loadGraphileWorker(scope, connections));
    const count = connections.toLocaleString('en');
    for (const workers of [1, size.workers]) {
      const by = workers === 1 ? 'one worker' : `${workers} workers`;
      const calls = Math.ceil(size.calls / (workers === 1 ? 6 : 30));
      for (const isNamed of smallest === undefined ? [false, true] : []) {
        await due.reset();
        await theirs?.reset();
        yield {
          work: `claim one of ${count} due connections, ${by}, ${isNamed ? 'named statements' : 'plain client'}`,
          unit: 'ms',
          rounds: size.rounds,
          ours: due.claim(workers, calls, isNamed),
          beside: [scope.besideEarlier(theirs?.claim(workers, calls, isNamed), { ratio: 3 })],
        };
      }
      for (const each of [due, theirs, smallest]) await each?.reset();
      yield {
        work: `claim and finish one of ${count} due, ${by}`,
        unit: 'ms',
        rounds: size.rounds,
        ours: due.run(workers, calls),
        beside: [
          scope.besideEarlier(theirs?.run(workers, calls)),
          scope.besidePeer('pg-boss', ': fetch and complete', boss?.(workers, calls), { ratio: 1 }),
          scope.besidePeer('graphile-worker', ': a job', graphile?.(workers, calls)),
          ...(smallest === undefined
            ? []
            : [
                {
                  name: `itself with ${size.connections[0]?.toLocaleString('en')} due`,
                  goal: { ratio: 0.9 },
                  way: smallest.run(workers, calls),
                },
              ]),
        ],
      };
    }
    smallest ??= due;
  }
}

/** Connections of a release that are due. */
interface Due {
  /** Makes all of them due again. The rounds of a row take a few hundred. */
  reset(): Promise<void>;
  /** Each call of each worker claims a connection. */
  claim(workers: number, calls: number, isNamed: boolean): Way;
  /** Each call of each worker claims a connection and finishes its run, with named statements. */
  run(workers: number, calls: number): Way;
}

async function loadDue(scope: Scope, release: Release, connections: number): Promise<Due> {
  const { client, url } = await scope.database(release);
  await loadDueConnections(client, connections);
  const clients: Queryable[] = await Promise.all(
    Array.from({ length: scope.bench.size.workers }, () => scope.connect(url)),
  );
  const { syncRunClaim, syncRunFinish, withNamedStatements } = release.api;
  const named = clients.map(withNamedStatements);
  const claimOne = async (worker: Queryable | undefined) => {
    const [run] = await syncRunClaim(worker as Queryable, { worker: 'bench', limit: 1 });
    if (run === undefined) throw new Error('Nothing was due.');
    return run;
  };
  return {
    reset: () => makeDue(client),
    claim: (workers, calls, isNamed) =>
      timedTogether(workers, calls, (worker) => claimOne((isNamed ? named : clients)[worker])),
    run: (workers, calls) =>
      timedTogether(workers, calls, async (worker) => {
        const run = await claimOne(named[worker]);
        await syncRunFinish(named[worker] as Queryable, { ...run, outcome: 'success' });
      }),
  };
}
