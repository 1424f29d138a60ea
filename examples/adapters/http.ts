import { canonicalTimestamp, type SyncErrorKind, type Timestamp } from '@nurturehub/crm-schema';
import { CrmError } from '../crm.js';

/** A request to a CRM. */
export interface Request {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH';
  /** With a leading slash. */
  path: string;
  /** Null and undefined values are omitted. */
  query?: Record<string, string | number | null | undefined>;
  headers?: Record<string, string>;
  /** Sent as JSON, or as a form. */
  body?: object | URLSearchParams;
  /** Statuses to accept as answers, besides 2xx. */
  accept?: readonly number[];
}

export interface Answer {
  status: number;
  headers: Headers;
  /** Parsed JSON; null if the body is empty. */
  // biome-ignore lint/suspicious/noExplicitAny: each adapter knows what its CRM sends.
  body: any;
  /** The CRM's own time, truncated to seconds. */
  date: Timestamp;
}

export type Send = (request: Request) => Promise<Answer>;

/**
 * Sends requests with the same headers to one CRM.
 *
 * @param options.headers called for each request
 * @param options.errorIn reads an error status from a body, if the HTTP status does not show errors
 * @returns a function that throws a `CrmError` unless it receives an accepted answer
 */
export function sender(options: {
  url: string;
  timeoutMilliseconds: number;
  headers?: () => Record<string, string> | Promise<Record<string, string>>;
  errorIn?: (body: unknown) => number | undefined;
}): Send {
  return async ({ method = 'GET', path, query = {}, headers, body, accept = [] }) => {
    const url = new URL(options.url + path);
    for (const [name, value] of Object.entries(query)) {
      if (value != null) url.searchParams.set(name, String(value));
    }
    const isForm = body instanceof URLSearchParams;
    const type: Record<string, string> =
      body === undefined || isForm ? {} : { 'content-type': 'application/json' };
    const given = { ...(await options.headers?.()), ...headers, ...type };
    const { response, text } = await exchange(url, options.timeoutMilliseconds, {
      method,
      headers: given,
      ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
    });
    const parsed = parse(text);
    const status = options.errorIn?.(parsed) ?? response.status;
    if ((status < 200 || status > 299) && !accept.includes(status)) {
      throw refused(status, response.headers, parsed);
    }
    const date = Date.parse(response.headers.get('date') ?? '');
    if (parsed === undefined || Number.isNaN(date)) {
      throw new CrmError('provider', 'The answer is not JSON, or has no date.', { retryable: true });
    }
    return {
      status,
      headers: response.headers,
      body: parsed,
      date: canonicalTimestamp(new Date(date).toISOString()),
    };
  };
}

async function exchange(url: URL, timeoutMilliseconds: number, init: RequestInit) {
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(timeoutMilliseconds) });
    return { response, text: await response.text() };
  } catch (error) {
    if (error instanceof Error && error.name === 'TimeoutError') {
      throw new CrmError('timeout', `No answer within ${timeoutMilliseconds} ms.`, { retryable: true });
    }
    throw new CrmError('network', 'The connection failed.', { retryable: true });
  }
}

/** Parses JSON; undefined if the text is not JSON. */
function parse(text: string): unknown {
  try {
    return text === '' ? null : JSON.parse(text);
  } catch {
    return undefined;
  }
}

const kinds: Partial<Record<number, SyncErrorKind>> = {
  400: 'validation',
  401: 'auth',
  403: 'permission',
  404: 'not_found',
  405: 'validation',
  408: 'timeout',
  409: 'conflict',
  412: 'conflict',
  422: 'validation',
  429: 'rate_limited',
};
const retryableStatuses = [408, 412, 429];

/** Leaves out the CRM's own message, which may contain personal data. */
function refused(status: number, headers: Headers, body: unknown): CrmError {
  const kind = kinds[status] ?? 'provider';
  const retryable = retryableStatuses.includes(status) || status >= 500;
  const retryAfter = headers.get('retry-after');
  const retryAfterSeconds = status === 429 && retryAfter !== null ? Number(retryAfter) : undefined;
  return new CrmError(kind, `The CRM answered ${status}.`, {
    retryable,
    code: codeIn(body) ?? String(status),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  });
}

/** The code of an error, in the shapes that CRMs use: at the top level, or in the first of `errors`. */
function codeIn(body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { code, errors } = body as { code?: unknown; errors?: unknown };
  if (typeof code === 'string' && /^[\w-]{1,100}$/.test(code)) return code;
  return Array.isArray(errors) ? codeIn(errors[0]) : undefined;
}
