import { expect, test } from 'vitest';
import { html } from '../../examples/health-page/html.js';

test('a template escapes every text, also in attributes and lists', () => {
  const text = `<script>&"'`;
  const escaped = '&lt;script&gt;&amp;&quot;&#39;';
  expect(html`<p title="${text}">${text}${[text, [text]]}</p>`.toString()).toBe(
    `<p title="${escaped}">${escaped}${escaped}${escaped}</p>`,
  );
});

test('a template leaves another template as it is, and shows nothing of what is missing', () => {
  expect(html`<ul>${[html`<li>${1}</li>`, null, undefined, false]}</ul>`.toString()).toBe(
    '<ul><li>1</li></ul>',
  );
  expect(html`${0}${''}`.toString()).toBe('0');
});

test('an object that claims to be HTML is not taken for it', () => {
  const claimed = JSON.parse('{"text":"<b>","toString":"<b>"}');
  expect(() => html`${claimed}`.toString()).toThrow(TypeError);
});
