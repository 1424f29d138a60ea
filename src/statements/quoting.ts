/** `"name"`: a name as an identifier in SQL. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** `'text'`: a text as a literal in SQL. */
export function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** Escapes control characters in the literals of SQL, such as a CHECK's white space, which copying would lose. */
export function escapeControlCharacters(sql: string): string {
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
