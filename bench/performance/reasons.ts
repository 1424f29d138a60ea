/**
 * Where the time goes in the rows that fall short: by the beginning of their names, from profiles, by hand. Once a row
 * reaches its goals, the document leaves its reason out.
 */
export const reasons: readonly { rows: string; reason: string }[] = [
  {
    rows: 'claim',
    reason:
      'A claim asks whether a lease has expired or a change is new, and then inserts a run, with its four indexes, and updates the connection, with one on `next_sync_at`, so never in place. The finish updates both again. Two statements of a job queue touch one row of one table.',
  },
  {
    rows: 'batch',
    reason:
      'Planning takes 4 to 8 ms, because the statement is not named here. Of the rest, a quarter is the log itself, a fifth the 200 new mappings (the guard against ids that are aliases or of erased people, their foreign keys, and the locks of contacts), and a fifth the look-ups of each record and of its open failure. What the events say of each record together, the failures, and the arrays as rows take most of the remainder. 1.3.0 had fewer rules.',
  },
  {
    rows: 'log',
    reason:
      'The rows of the log and its three indexes take the time, for each way alike; what the client does is a tenth. That leaves an ORM little to lose.',
  },
  {
    rows: 'processor of the client',
    reason:
      'Sending the message and collecting garbage take most, in `pg`. Of our own work, the checks of each event are first.',
  },
  {
    rows: 'a page of',
    reason:
      'Receiving the rows in `pg` and collecting garbage take two thirds. Of our own work, reading the times is first.',
  },
  {
    rows: 'find the contact of one',
    reason: 'pgbench is C: sending and receiving in Node take longer than the server does.',
  },
  {
    rows: 'find the contacts of 500',
    reason: 'Each row becomes an object by name in `pg`, and is then put into the order that was asked for.',
  },
  {
    rows: 'find one id inside',
    reason:
      'Three round trips, one after the other: begin with the organisation, the look-up, and the commit with its check. On a pool that pipelines they are two: the look-up is sent with the begin, but the commit waits for its result.',
  },
  {
    rows: 'an event',
    reason:
      'The rows take 147 bytes, and the primary key 111: it has the ids of organisation and connection, 16 bytes each, and its pages are half empty. A key without the organisation would reach the goal, but nobody could then distribute the log by organisation ([decision 30](decisions/0030-the-contact-index-of-the-log-repeats-its-keys.md)).',
  },
  {
    rows: 'totals',
    reason: 'It reads the row of every connection once: 10,000 of 750 bytes.',
  },
  {
    rows: 'health',
    reason:
      'It counts up to 1,000 failures, and up to 1,000 of each kind of waiting record. Planning its thirteen parts takes as long where the statement is not prepared.',
  },
  {
    rows: 'rotate',
    reason:
      'Web Crypto, as `jose` uses it: each of the six operations of a credential is a promise and a job of the thread pool, with a key that is imported again. The database takes a tenth.',
  },
  {
    rows: 'peak memory',
    reason:
      'Each event is copied into columns, each column into the text of an array, and the texts into one message: three copies, all alive when it is sent.',
  },
];
