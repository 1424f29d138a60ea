// The events of some days by their outcome: a picture, and the same as a table.
import type { SyncPeriodCount, Timestamp } from '@nurturehub/crm-schema';
import { type Html, html } from './html.js';
import { outcomes } from './names.js';
import { counted, inFigures, inShort } from './times.js';

/** Adds up the counts of several connections, whose days all begin at these times; the last is the end of the last day. */
export function sumOf(
  times: readonly Timestamp[],
  connections: readonly (readonly SyncPeriodCount[])[],
): SyncPeriodCount[] {
  return times.slice(0, -1).map((startsAt, index) => {
    const days = connections.map((counts) => counts[index] as SyncPeriodCount);
    const sum = (key: 'success' | 'skipped' | 'error') => days.reduce((total, day) => total + day[key], 0);
    return {
      startsAt,
      endsAt: times[index + 1] as Timestamp,
      success: sum('success'),
      skipped: sum('skipped'),
      error: sum('error'),
      isCapped: days.some(({ isCapped }) => isCapped),
    };
  });
}

/** The heights of the two parts of the picture. Failures have a scale of their own: next to the rest they would vanish. */
const above = 100;
const below = 40;
const step = 10;
const bar = 7;

/** Draws the days. The picture stretches to any width, so its labels are text beside it. */
export function plotOf(days: readonly SyncPeriodCount[]): Html {
  const most = Math.max(...days.map(({ success, skipped }) => success + skipped), 1);
  const mostFailed = Math.max(...days.map(({ error }) => error), 1);
  const up = (count: number) => (count / most) * above;
  const bars = days.map(({ success, skipped, error }, index) => {
    const x = index * step + (step - bar) / 2;
    const synced = up(success);
    const both = synced + up(skipped);
    return html`${rect('synced', x, above - synced, synced)}${rect('skipped', x, above - both, both - synced)}${rect('failed', x, above, (error / mostFailed) * below)}`;
  });
  const width = days.length * step;
  const [first, middle, last] = [days[0], days[Math.floor(days.length / 2)], days.at(-1)];
  return html`<figure class="plot">
  <figcaption>
    <ul class="legend">
      <li><span class="key key-synced"></span>${outcomes.success}: ${totalOf(days, 'success')}</li>
      <li><span class="key key-skipped"></span>${outcomes.skipped}: ${totalOf(days, 'skipped')}</li>
      <li><span class="key key-failed"></span>${outcomes.error}: ${totalOf(days, 'error')}</li>
    </ul>
  </figcaption>
  <div class="chart">
    <span class="top">${counted(most, 'record')}</span>
    <svg viewBox="0 0 ${width} ${above + below}" preserveAspectRatio="none" role="img" aria-label="${summaryOf(days)}">
      ${bars}
      <line class="axis" x1="0" y1="${above}" x2="${width}" y2="${above}"/>
    </svg>
    <span class="bottom">${inFigures(mostFailed)} failed</span>
    <span class="days">${[first, middle, last].map((day) => day && html`<span>${inShort(day.startsAt)}</span>`)}</span>
  </div>
  <details>
    <summary>The same as a table</summary>
    <table>
      <caption>Records on each day, newest first</caption>
      <thead><tr><th scope="col">Day</th><th scope="col">${outcomes.success}</th><th scope="col">${outcomes.skipped}</th><th scope="col">${outcomes.error}</th></tr></thead>
      <tbody>${[...days].reverse().map(rowOf)}</tbody>
    </table>
  </details>
  ${days.some(({ isCapped }) => isCapped) && html`<p class="note">* More than we count: at least this many.</p>`}
</figure>`;
}

function rect(kind: string, x: number, y: number, height: number): Html | false {
  return (
    height > 0 &&
    html`<rect class="${kind}" x="${x}" y="${round(y)}" width="${bar}" height="${round(height)}"/>`
  );
}

function rowOf({ startsAt, success, skipped, error, isCapped }: SyncPeriodCount): Html {
  const mark = isCapped ? '*' : '';
  return html`<tr><th scope="row">${inShort(startsAt)}${mark}</th><td>${inFigures(success)}</td><td>${inFigures(skipped)}</td><td>${inFigures(error)}</td></tr>`;
}

function totalOf(days: readonly SyncPeriodCount[], key: 'success' | 'skipped' | 'error'): string {
  const total = inFigures(days.reduce((sum, day) => sum + day[key], 0));
  return days.some(({ isCapped }) => isCapped) ? `${total} or more` : total;
}

/** What the picture shows, for those who do not see it. The table has the rest. */
function summaryOf(days: readonly SyncPeriodCount[]): string {
  return `Records on each of the last ${days.length} days: ${totalOf(days, 'success')} synced, ${totalOf(days, 'skipped')} with no change needed, ${totalOf(days, 'error')} failed. The same as a table follows.`;
}

const round = (value: number) => Math.round(value * 100) / 100;
