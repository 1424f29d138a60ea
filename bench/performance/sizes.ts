/** How much is measured. */
export interface Size {
  rounds: number;
  /** Calls a round of what takes less than a millisecond; the rest is in proportion. */
  calls: number;
  /** Connections that are due. */
  connections: readonly number[];
  /** Workers that claim at the same time. */
  workers: number;
  /** Batches that are recorded into tables that were never analysed. */
  batches: number;
  batchEvents: number;
  /** Ids at a CRM. */
  mappings: number;
  /** Connections of the fleet. */
  fleet: number;
  /** Events in the log of the fleet. */
  events: number;
  /** Events in the log of the largest page. */
  pageEvents: number;
  credentials: number;
  /** Events of the largest call. */
  callEvents: number;
  /** Events of the month that is dropped. */
  monthEvents: number;
  /** Rounds of what takes seconds. */
  fewRounds: number;
}

export const standard: Size = {
  rounds: 7,
  calls: 300,
  connections: [10_000, 100_000],
  workers: 20,
  batches: 50,
  batchEvents: 1000,
  mappings: 100_000,
  fleet: 10_000,
  events: 1_000_000,
  pageEvents: 1_000_000,
  credentials: 5000,
  callEvents: 100_000,
  monthEvents: 500_000,
  fewRounds: 7,
};

/** The goals for large logs need large logs. */
export const full: Size = { ...standard, pageEvents: 10_000_000, monthEvents: 5_000_000 };

/** Only shows that every row can be measured. */
export const smoke: Size = {
  rounds: 1,
  calls: 4,
  connections: [200, 300],
  workers: 3,
  batches: 2,
  batchEvents: 20,
  mappings: 200,
  fleet: 20,
  events: 2000,
  pageEvents: 2000,
  credentials: 10,
  callEvents: 200,
  monthEvents: 500,
  fewRounds: 1,
};
