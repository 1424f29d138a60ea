/** A signal that aborts when someone interrupts or terminates this process, which then ends by itself. */
export function interruptionSignal(): AbortSignal {
  const interruption = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interruption.abort());
  return interruption.signal;
}
