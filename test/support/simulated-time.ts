import { nine } from './clock.js';

/** Time that passes only while every task sleeps, so that minutes of waiting take no time. */
export class SimulatedTime {
  #now = Date.parse(nine);
  #awake = 0;
  #sleepers: { until: number; wake: () => void }[] = [];

  /** Milliseconds since 1970. */
  readonly now = (): number => this.#now;

  /** Seconds since nine. */
  get seconds(): number {
    return (this.#now - Date.parse(nine)) / 1000;
  }

  /** Runs tasks side by side, until all have ended. */
  async run(tasks: readonly (() => Promise<void>)[]): Promise<void> {
    this.#awake = tasks.length;
    const running = tasks.map((task) =>
      task().finally(() => {
        this.#awake -= 1;
        this.#passIfAllSleep();
      }),
    );
    await Promise.all(running);
  }

  /** Lets a task sleep. */
  readonly sleep = (milliseconds: number): Promise<void> =>
    new Promise((wake) => {
      this.#sleepers.push({ until: this.#now + Math.max(Math.ceil(milliseconds), 1), wake });
      this.#awake -= 1;
      this.#passIfAllSleep();
    });

  /** Moves the clock to the first time at which a task wakes, and wakes all that do then. */
  #passIfAllSleep(): void {
    if (this.#awake > 0 || this.#sleepers.length === 0) return;
    this.#now = Math.min(...this.#sleepers.map(({ until }) => until));
    const woken = this.#sleepers.filter(({ until }) => until === this.#now);
    this.#sleepers = this.#sleepers.filter(({ until }) => until > this.#now);
    this.#awake = woken.length;
    for (const { wake } of woken) wake();
  }
}
