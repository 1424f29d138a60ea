/** Quotes a name for SQL. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Quotes a text for SQL. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** Escapes control characters in literals, such as a CHECK's white space, which copying would lose. */
export function printable(sql: string): string {
  const escapes: Record<string, string> = {
    '\t': '\\t',
    '\n': '\\n',
    '\r': '\\r',
    '\f': '\\f',
    '\v': '\\x0b',
  };
  return sql.replace(
    /'([^'\\]*[\t\r\f\v][^'\\]*)'/g,
    (_, text: string) => `E'${text.replace(/[\t\n\r\f\v]/g, (blank) => escapes[blank] as string)}'`,
  );
}
