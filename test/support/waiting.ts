/** How long `vi.waitFor` waits for another process on a busy machine, and how often it looks. */
export const waiting = { timeout: 120_000, interval: 100 };
