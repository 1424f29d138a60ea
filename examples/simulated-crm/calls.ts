import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Call } from './dialects/dialect.js';
import type { ReceivedRequest } from './simulated-crm.js';

/** What is known of a request before it is read. */
export function receivedIn(
  { method = 'GET', url = '/' }: IncomingMessage,
  response: ServerResponse,
): ReceivedRequest {
  return {
    method,
    path: url.replace(/\?.*$/, ''),
    get status() {
      return response.headersSent ? response.statusCode : null;
    },
    reason: null,
  };
}

export function isSignIn({ segments }: Call): boolean {
  return segments[0] === 'token';
}

/** Reads a request to its end. */
export async function readCall(request: IncomingMessage): Promise<Call> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) text += chunk;
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://127.0.0.1');
  const isForm = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded');
  return {
    method: request.method ?? 'GET',
    segments: pathname.slice(1).split('/').map(decodeURIComponent),
    query: searchParams,
    headers: request.headers,
    body: text === '' ? {} : isForm ? Object.fromEntries(new URLSearchParams(text)) : JSON.parse(text),
  };
}
