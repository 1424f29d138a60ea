// What an answer means that is not a success. An error has nothing that the CRM wrote but a code and names of fields:
// its own text may contain personal data, and a page of a gateway anything.
import type { SyncErrorKind } from '@nurturehub/crm-schema';
import { CrmError } from '../crm.js';

const kinds: Partial<Record<number, SyncErrorKind>> = {
  400: 'validation',
  401: 'auth',
  403: 'permission',
  404: 'not_found',
  405: 'validation',
  408: 'timeout',
  409: 'conflict',
  410: 'not_found',
  412: 'conflict',
  413: 'validation',
  415: 'validation',
  422: 'validation',
  429: 'rate_limited',
};

/** Those after which the same request may succeed, besides 5xx. Of 412: with the version that is then there. */
const retryable = [408, 412, 425, 429];

export function refused(status: number, headers: Headers, body: unknown): CrmError {
  const fields = fieldsIn(body);
  const about = fields.length === 0 ? '' : ` about ${fields.join(', ')}`;
  return new CrmError(kinds[status] ?? 'provider', `The CRM answered ${status}${about}.`, {
    // A redirect is a CRM's page for maintenance, or its new address.
    retryable: retryable.includes(status) || status >= 500 || (status >= 300 && status < 400),
    code: codeIn(body) ?? String(status),
    retryAfterSeconds: retryAfterIn(headers),
  });
}

/** Statuses that mean the same from a gateway as from the CRM. */
const anybodys = [401, 408, 429];

/**
 * Whether something before the CRM has answered: the body is not JSON. Its 404 says nothing of a record, and its 403
 * nothing of a permission.
 */
export function isFromGateway(status: number, body: unknown): boolean {
  return body === undefined && status < 500 && !anybodys.includes(status) && !(status >= 300 && status < 400);
}

export function gatewayAnswered(status: number): CrmError {
  const problem = `The answer is not JSON, so it is not the CRM's (${status}).`;
  return new CrmError('provider', problem, { retryable: true, code: String(status) });
}

/** `Retry-After` in seconds: a number, or a date by the clock of whoever answered (RFC 9110, section 10.2.3). */
export function retryAfterIn(headers: Headers): number | undefined {
  const text = headers.get('retry-after')?.trim() ?? '';
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  const now = Date.parse(headers.get('date') ?? '');
  const seconds = (Date.parse(text) - (Number.isNaN(now) ? Date.now() : now)) / 1000;
  return /[a-z]/i.test(text) && !Number.isNaN(seconds) ? Math.max(seconds, 0) : undefined;
}

/** The code of an error, in the shapes that CRMs use: at the top level, or in the first of `errors`. */
function codeIn(body: unknown): string | undefined {
  const { code, errors } = (body ?? {}) as { code?: unknown; errors?: unknown };
  if (typeof code === 'string' && /^[\w-]{1,100}$/.test(code)) return code;
  return Array.isArray(errors) ? codeIn(errors[0]) : undefined;
}

/** The fields that the errors are about, if they say so. */
function fieldsIn(body: unknown): string[] {
  const { errors } = (body ?? {}) as { errors?: unknown };
  if (!Array.isArray(errors)) return [];
  return errors
    .map((error) => String((error as { field?: unknown } | null)?.field ?? ''))
    .filter((field) => /^[a-z]\w{0,49}$/i.test(field))
    .slice(0, 5);
}
