import * as vega from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { Growth, TableSize } from './growth-measure.js';

/** The parts of the log from bottom to top, with the name and colour of each. */
const parts = [
  { name: 'Rows', colour: '#3b6fb6', bytes: ({ heap, toast }: TableSize) => heap + toast },
  { name: 'Primary key', colour: '#c26a12', bytes: index('crm_sync_log_pkey') },
  { name: 'Index by contact', colour: '#3a8757', bytes: index('crm_sync_log_internal_id_idx') },
  {
    name: 'Indexes of failures and of unlinked events',
    colour: '#c0392b',
    bytes: (log: TableSize) =>
      index('crm_sync_log_status_connection_id_idx')(log) + index('crm_sync_log_external_id_idx')(log),
  },
];

function index(name: string) {
  return ({ indexes }: TableSize) => indexes[name] ?? 0;
}

/** Draws docs/growth.svg: the size of the log by number of events. On white, to be legible on any background. */
export async function growthPlot({ steps }: Growth): Promise<string> {
  const areas = [{ events: 0, tables: {} as Growth['steps'][number]['tables'] }, ...steps].flatMap(
    ({ events, tables }) => {
      const log = tables.crm_sync_log;
      let below = 0;
      return parts.map(({ name, bytes }) => {
        const gigabytes = log === undefined ? 0 : bytes(log) / 1e9;
        below += gigabytes;
        return { part: name, millions: events / 1e6, gigabytes, from: below - gigabytes, to: below };
      });
    },
  );
  const last = steps.at(-1)?.events ?? 0;
  const labels = areas
    .filter(({ millions }) => millions === last / 1e6)
    .map(({ part, gigabytes, from, to }) => ({
      part,
      label: `${part}: ${((gigabytes * 1e9) / last).toFixed(gigabytes < 0.1 ? 1 : 0)} bytes an event`,
      millions: last / 1e6,
      // A label is beside its area, or just above it if the area is too thin.
      height: to - from < 0.1 ? to + 0.06 : (from + to) / 2,
    }));
  const x = (field: string) => ({
    field,
    type: 'quantitative' as const,
    title: 'Events, in millions',
    scale: { domain: [0, last / 1e6], nice: false },
    axis: { grid: false, tickCount: 10 },
  });
  const y = (field: string) => ({
    field,
    type: 'quantitative' as const,
    title: 'On disk, in gigabytes (10⁹ bytes)',
    axis: { tickCount: 8 },
  });
  const colour = {
    field: 'part',
    type: 'nominal' as const,
    scale: { domain: parts.map(({ name }) => name), range: parts.map((part) => part.colour) },
    legend: null,
  };
  const spec: TopLevelSpec = {
    width: 460,
    height: 320,
    padding: 16,
    background: 'white',
    title: {
      text: 'The sync log grows in proportion to its events',
      anchor: 'start',
      fontSize: 15,
      offset: 12,
    },
    config: {
      font: 'Helvetica, Arial, DejaVu Sans, sans-serif',
      axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: 'normal', gridColor: '#e4e4e4' },
      view: { stroke: null },
    },
    layer: [
      {
        data: { values: areas },
        mark: { type: 'area' },
        encoding: { x: x('millions'), y: y('from'), y2: { field: 'to' }, color: colour },
      },
      {
        data: { values: labels },
        mark: { type: 'text', align: 'left', dx: 8, fontSize: 12, fontWeight: 'bold' },
        encoding: { x: x('millions'), y: y('height'), text: { field: 'label' }, color: colour },
      },
    ],
  };
  const view = new vega.View(vega.parse(compile(spec).spec), { renderer: 'none' });
  return `${await view.toSVG()}\n`;
}
