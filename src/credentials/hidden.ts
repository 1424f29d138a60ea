const placeholder = '[hidden]';

/** What `console.log` and `util.inspect` look for, and `JSON.stringify`. A spread does not copy them. */
const hiding: PropertyDescriptorMap = {
  [Symbol.for('nodejs.util.inspect.custom')]: { value: () => placeholder },
  toJSON: { value: () => placeholder },
};
const hiddenObject = Object.create(Object.prototype, hiding);
const hiddenArray = Object.create(Array.prototype, hiding);

/**
 * Keeps a JSON value out of logs: whoever prints or serialises it, or an object that it is in, gets
 * `[hidden]`. Its fields read as ever, and `{ ...value }` is a copy that shows them.
 */
export function hidden<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null) return value;
  for (const inner of Object.values(value)) hidden(inner);
  return Object.setPrototypeOf(value, Array.isArray(value) ? hiddenArray : hiddenObject);
}
