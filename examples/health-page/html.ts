/** A piece of HTML. Only `html` makes one, so that no text gets into a page unescaped. */
export class Html {
  readonly #text: string;

  constructor(strings: readonly string[], values: readonly Content[]) {
    this.#text = strings.reduce((text, string, index) => text + asText(values[index - 1]) + string);
  }

  toString(): string {
    return this.#text;
  }
}

/** What may stand in a template: text is escaped; nothing is shown of null, undefined and false. */
export type Content = Html | string | number | null | undefined | false | readonly Content[];

/** Puts values into HTML: between tags, or in attributes, which must have double quotes. */
export function html(strings: TemplateStringsArray, ...values: Content[]): Html {
  return new Html(strings, values);
}

const escapes: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function asText(content: Content): string {
  if (content instanceof Html) return content.toString();
  if (content === null || content === undefined || content === false) return '';
  if (typeof content === 'object') return content.map(asText).join('');
  return String(content).replace(/[&<>"']/g, (character) => escapes[character] as string);
}
