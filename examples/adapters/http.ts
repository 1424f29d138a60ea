// How a request gets to a CRM: with a time limit, without following redirects, and with an error that the worker knows
// what to do with. What a refusal means is in http-refusals.ts.
import { canonicalTimestamp, type Timestamp } from '@nurturehub/crm-schema';
import { CrmError } from '../crm.js';
import { gatewayAnswered, isFromGateway, refused } from './http-refusals.js';

/** The parameters of a request. Null and undefined ones are omitted. */
export type Query = Record<string, string | number | boolean | null | undefined>;

/** A request to a CRM. */
export interface Request {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH';
  /** With a leading slash; empty for the URL itself. */
  path: string;
  query?: Query;
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
  /**
   * The CRM's own time, in whole seconds: its header `Date`.
   *
   * @throws CrmError if it is missing; not before it is read, because few answers need it
   */
  readonly date: Timestamp;
}

export type Send = (request: Request) => Promise<Answer>;

export interface SenderOptions {
  /** What the paths of requests are added to. */
  url: string;
  /** How long an answer may take, with its body. */
  timeoutMilliseconds: number;
  /** Called for each request. */
  headers?: () => Record<string, string> | Promise<Record<string, string>>;
  /** Reads an error status from a body, if the HTTP status does not show errors. */
  errorIn?: (body: unknown) => number | undefined;
}

/** Returns a function that sends requests to one CRM, and throws a `CrmError` unless it receives an accepted answer. */
export function sender({ url, timeoutMilliseconds, headers, errorIn }: SenderOptions): Send {
  const base = url.replace(/\/+$/, '');
  return async (request) => {
    const { method = 'GET', path, query = {}, body, accept = [] } = request;
    const to = new URL(base + path);
    for (const [name, value] of Object.entries(query)) {
      if (value != null) to.searchParams.set(name, String(value));
    }
    const isForm = body instanceof URLSearchParams;
    const { response, text } = await exchange(to, timeoutMilliseconds, {
      method,
      headers: headersOf({
        ...(body === undefined || isForm ? {} : { 'content-type': 'application/json' }),
        ...(await headers?.()),
        ...request.headers,
      }),
      // Fetch would send headers such as an API key to wherever a redirect leads.
      redirect: 'manual',
      ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
    });
    const parsed = parse(text);
    const status = errorIn?.(parsed) ?? response.status;
    const isAccepted = (status >= 200 && status <= 299) || accept.includes(status);
    if (isFromGateway(status, parsed)) throw gatewayAnswered(status);
    if (!isAccepted) throw refused(status, response.headers, parsed);
    return {
      status,
      headers: response.headers,
      body: parsed,
      get date() {
        return dateIn(response.headers);
      },
    };
  };
}

/** Adds headers, such as those of a session, to each request. */
export function withHeaders(send: Send, headers: Record<string, string>): Send {
  return (request) => send({ ...request, headers: { ...headers, ...request.headers } });
}

async function exchange(url: URL, timeoutMilliseconds: number, init: RequestInit) {
  try {
    // The signal also ends an answer whose body does not end.
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(timeoutMilliseconds) });
    return { response, text: await response.text() };
  } catch (error) {
    if (error instanceof Error && error.name === 'TimeoutError') {
      throw new CrmError('timeout', `No answer within ${timeoutMilliseconds} ms.`, { retryable: true });
    }
    throw new CrmError('network', 'The connection failed.', { retryable: true });
  }
}

/** Fetch's own error would repeat the value, which may be a key. */
function headersOf(given: Record<string, string>): Headers {
  try {
    return new Headers(given);
  } catch {
    const problem = 'A header has characters that HTTP does not allow: check the credentials.';
    throw new CrmError('auth', problem, { retryable: false });
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

function dateIn(headers: Headers): Timestamp {
  const date = Date.parse(headers.get('date') ?? '');
  if (!Number.isNaN(date)) return canonicalTimestamp(new Date(date).toISOString());
  throw new CrmError('provider', 'The answer has no date.', { retryable: true });
}
