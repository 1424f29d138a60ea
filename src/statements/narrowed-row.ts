/**
 * A generated row type with more precise types for some fields: a literal union for text with a closed list,
 * or the shape of a JSON value. The other fields are unchanged, and all keep their documentation.
 */
export type NarrowedRow<Row, Fields extends Partial<Record<keyof Row, unknown>>> = {
  [Field in keyof Row]: Field extends keyof Fields ? Fields[Field] : Row[Field];
};
