import { instance } from '@viz-js/viz';

/** Shapes and colours by class, for a light page. `style` has the colours for a dark one. */
const shapes: Record<string, string> = {
  step: 'shape=box, style="filled,rounded", fillcolor="#dbe9f9"',
  state: 'shape=box, style="filled,rounded", fillcolor="#dbe9f9", fontname="Courier"',
  table: 'shape=cylinder, style=filled, fillcolor="#e9f5e9"',
  outside: 'shape=oval, style=filled, fillcolor="#ffffff"',
  adapter: 'shape=box, style=filled, fillcolor="#fff3d6"',
  point: 'style=filled, fillcolor="#1f2328"',
  primary: 'shape=box, style="filled,rounded", fillcolor="#dbe9f9"',
  alias: 'shape=box, style="filled,rounded,dashed", fillcolor="#e9f5e9"',
  tombstone: 'shape=box, style="filled,rounded", fillcolor="#d8dee4"',
  archived: 'shape=box, style="filled,rounded,dotted", fillcolor="#ffffff"',
};

const style = `<style>
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Helvetica, Arial, sans-serif; }
.state text { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) {
  .graph > polygon { fill: #0d1117; }
  text { fill: #e6edf3; }
  .node polygon, .node path, .node ellipse, .cluster path { stroke: #8b949e; }
  .step > path, .state > path, .step > polygon { fill: #14325a; }
  .primary > path { fill: #14325a; }
  .table > path, .alias > path { fill: #17351f; }
  .tombstone > path { fill: #3d444d; }
  .archived > path { fill: #161b22; }
  .adapter > polygon { fill: #4a3a10; }
  .outside > ellipse { fill: #161b22; }
  .point > ellipse { fill: #e6edf3; }
  .edge path { stroke: #8b949e; }
  .edge polygon { fill: #8b949e; stroke: #8b949e; }
}
</style>`;

/** Draws a graph as SVG, readable on a light and a dark page. */
export async function draw(graph: string, title: string): Promise<string> {
  const viz = await instance();
  const styled = graph.replaceAll(/\[class=(\w+)/g, (_, name) => `[class=${name}, ${shapes[name]}`);
  const defaults = [
    'graph [bgcolor="#ffffff", fontname="Helvetica", pad=0.2]',
    'node [fontname="Helvetica", fontsize=12, color="#57606a", fontcolor="#1f2328", margin="0.22,0.08"]',
    'edge [fontname="Helvetica", fontsize=10, color="#57606a", fontcolor="#1f2328", arrowsize=0.7]',
  ];
  const svg = viz.renderString(styled.replace(/digraph \{/, `digraph {\n${defaults.join('\n')}`), {
    format: 'svg',
  });
  return svg
    .slice(svg.indexOf('<svg'))
    .replaceAll(/<!--.*?-->\n?/gs, '')
    .replaceAll(/<title>[^<]*<\/title>\n?/g, '')
    .replace(/(<svg[^>]*>)/, `$1\n<title>${title}</title>\n${style}`);
}
