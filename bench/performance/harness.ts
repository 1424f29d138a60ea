/**
 * One way of doing a piece of work. Resolves to what it cost: usually milliseconds a call. Less is better.
 */
export type Way = () => Promise<number>;

/** What stands beside ours in a row. */
export interface Beside {
  /** What it is: `pg-boss 12.38.0: fetch and complete`. */
  name: string;
  /** Undefined if it cannot be tried here; `missing` then says why. */
  way: Way | undefined;
  missing?: string | undefined;
  /** The goal; none if the row is only for information. */
  goal?: Goal | undefined;
}

/** `ratio`: the other's cost ÷ ours, at least. `added`: our cost − the other's, at most. */
export type Goal = { ratio: number } | { added: number };

/** One piece of work, done in several ways. */
export interface Row {
  work: string;
  unit: 'ms' | 'MB' | 'bytes';
  ours: Way;
  beside: Beside[];
  /** How often each way is tried; a warm-up comes first, unless there is one round. */
  rounds: number;
  /** Restores the state that the work needs, before each round. */
  before?: (() => Promise<void>) | undefined;
}

/** The middle of some numbers, and the two quartiles. */
export interface Spread {
  median: number;
  low: number;
  high: number;
}

/** A way beside ours, measured. */
export interface MeasuredBeside {
  name: string;
  goal?: Goal | undefined;
  missing?: string | undefined;
  cost?: Spread | undefined;
  /** Of each round: the other's cost ÷ ours. */
  ratio?: Spread | undefined;
}

/** A row, measured. */
export interface MeasuredRow {
  work: string;
  unit: Row['unit'];
  rounds: number;
  ours: Spread;
  beside: MeasuredBeside[];
}

/**
 * Measures a row: each way once a round, in turn, so that what else the machine does meets all of them. Each round
 * begins with another way.
 */
export async function measure({ work, unit, ours, beside, rounds, before }: Row): Promise<MeasuredRow> {
  const ways = [ours, ...beside.flatMap(({ way }) => way ?? [])];
  const costs = ways.map(() => [] as number[]);
  for (let round = rounds === 1 ? 1 : 0; round <= rounds; round += 1) {
    await before?.();
    for (let turn = 0; turn < ways.length; turn += 1) {
      const index = (round + turn) % ways.length;
      const cost = await (ways[index] as Way)();
      if (round > 0) (costs[index] as number[]).push(cost);
    }
  }
  const [ourCosts, ...others] = costs as [number[], ...number[][]];
  return {
    work,
    unit,
    rounds,
    ours: spread(ourCosts),
    beside: beside.map(({ name, way, missing, goal }) => {
      const named = { name, ...(goal === undefined ? {} : { goal }) };
      if (way === undefined) return { ...named, missing: missing ?? 'not installed' };
      const theirs = others.shift() as number[];
      return {
        ...named,
        cost: spread(theirs),
        ratio: spread(theirs.map((cost, round) => cost / (ourCosts[round] as number))),
      };
    }),
  };
}

/** Whether a goal is reached; undefined if there is none, or nothing to compare with. */
export function isReached(ours: Spread, { goal, cost, ratio }: MeasuredBeside): boolean | undefined {
  if (goal === undefined || cost === undefined || ratio === undefined) return undefined;
  return 'ratio' in goal ? ratio.median >= goal.ratio : ours.median - cost.median <= goal.added;
}

/** Milliseconds a call. */
export function timed(calls: number, work: () => Promise<unknown>): Way {
  return async () => {
    const start = performance.now();
    for (let call = 0; call < calls; call += 1) await work();
    return (performance.now() - start) / calls;
  };
}

/** Milliseconds a call, while so many workers call at the same time. */
export function timedTogether(
  workers: number,
  calls: number,
  work: (worker: number) => Promise<unknown>,
): Way {
  return async () => {
    const start = performance.now();
    await Promise.all(
      Array.from({ length: workers }, async (_, worker) => {
        for (let call = 0; call < calls; call += 1) await work(worker);
      }),
    );
    return (performance.now() - start) / (workers * calls);
  };
}

/** Milliseconds of this process's processor a call. */
export function processorTime(calls: number, work: () => Promise<unknown>): Way {
  return async () => {
    const start = process.cpuUsage();
    for (let call = 0; call < calls; call += 1) await work();
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000 / calls;
  };
}

/** The time in milliseconds that 95 of 100 calls keep within. */
export function percentile95(calls: number, work: () => Promise<unknown>): Way {
  return async () => {
    const times: number[] = [];
    for (let call = 0; call < calls; call += 1) times.push(await timed(1, work)());
    return quantile(times, 0.95);
  };
}

/** Returns what was measured before, one by one. */
export function replayed(costs: readonly number[]): Way {
  let next = 0;
  return async () => costs[next++ % costs.length] as number;
}

export function spread(values: readonly number[]): Spread {
  return { median: quantile(values, 0.5), low: quantile(values, 0.25), high: quantile(values, 0.75) };
}

/** Between two of the sorted values, where it falls between them. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  const place = (sorted.length - 1) * share;
  const [below, above] = [Math.floor(place), Math.ceil(place)].map((index) => sorted[index] as number);
  return (below as number) + ((above as number) - (below as number)) * (place % 1);
}
