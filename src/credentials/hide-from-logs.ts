const placeholder = '[hidden]';

/** The hooks of `console.log`, `util.inspect` and `JSON.stringify`. Spread does not copy them. */
const hiding: PropertyDescriptorMap = {
  [Symbol.for('nodejs.util.inspect.custom')]: { value: () => placeholder },
  toJSON: { value: () => placeholder },
};
const hiddenObject = Object.create(Object.prototype, hiding);
const hiddenArray = Object.create(Array.prototype, hiding);

/**
 * Keeps a JSON value out of logs: printing or serialising it, or an object that contains it, shows
 * `[hidden]`. Its fields can still be read, and `{ ...value }` makes a copy that shows them.
 */
export function hideFromLogs<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null) return value;
  for (const inner of Object.values(value)) hideFromLogs(inner);
  return Object.setPrototypeOf(value, Array.isArray(value) ? hiddenArray : hiddenObject);
}
