/** `45 s`, `3 min`, `5 h` or `12 d`, rounded down: in the smallest unit that needs only two digits. */
export function formatDuration(seconds: number): string {
  const units = [
    [1, 's'],
    [60, 'min'],
    [3600, 'h'],
  ] as const;
  const [size, unit] = units.find(([each]) => seconds < 100 * each) ?? [86_400, 'd'];
  return `${Math.max(0, Math.floor(seconds / size))} ${unit}`;
}
