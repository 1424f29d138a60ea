// Numbers as text for people.

/** `10,000`. */
export function formatNumber(number: number): string {
  return number.toLocaleString('en-GB');
}

/** `10`, or `1,000+` where counting stopped at the limit. */
export function formatCapped(number: number, limit: number): string {
  return number < limit ? formatNumber(number) : `${formatNumber(limit)}+`;
}

/** `1 connection`, `10,000 connections`. */
export function formatQuantity(number: number, noun: string): string {
  return `${formatNumber(number)} ${noun}${number === 1 ? '' : 's'}`;
}

/** `32 kB`, `1.5 GB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const number = bytes / 1024 ** power;
  return `${number < 10 && power > 0 ? number.toFixed(1).replace('.0', '') : Math.floor(number)} ${units[power]}`;
}
