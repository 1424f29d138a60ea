/**
 * A generated row type with some fields made precise: literal unions for text with a closed list,
 * the shape of a JSON value. The other fields stay, and all keep their documentation.
 */
export type NarrowedRow<Row, Fields extends Partial<Record<keyof Row, unknown>>> = {
  [Field in keyof Row]: Field extends keyof Fields ? Fields[Field] : Row[Field];
};
