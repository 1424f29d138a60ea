// The frame of every page, and its style sheet.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Html, html } from './html.js';

/** A page without its frame. */
export interface Page {
  status?: number;
  title: string;
  body: Html;
  /** Whether it is the first page, which the others link to. */
  isFirst?: boolean;
}

// In the page, so that it needs no second request. As it is, unescaped: it is a file of ours.
const styles = readFileSync(new URL('page.css', import.meta.url), 'utf8');
const styleElement = new Html([`<style>${styles}</style>`], []);

/** What a browser may load and do: this style sheet, and sending a form here. No scripts, and in no frame. */
export const contentSecurityPolicy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(styles).digest('base64')}'`,
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** A whole page. `agency` is the name of whoever is signed in. */
export function pageOf({ title, body, isFirst = false }: Page, agency?: string): string {
  return html`${doctype}<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} – ${agency ?? 'NurtureHub'}</title>
${styleElement}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header><p>${agency ?? 'NurtureHub'}</p>${!isFirst && agency !== undefined && html`<nav><a href="/">Your CRM connections</a></nav>`}</header>
<main id="main" tabindex="-1">
<h1>${title}</h1>
${body}
</main>
<footer><p>All times are UK time.</p></footer>
</body>
</html>
`.toString();
}

const doctype = html`<!doctype html>
`;
