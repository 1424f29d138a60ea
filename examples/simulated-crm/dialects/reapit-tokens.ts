import type { Keys } from '../keys.js';
import { accessToken, bearer, type Call, check, type Reply, type World } from './dialect.js';

/** Reapit's token endpoint: client credentials, and refresh tokens that work once. Who asks is named in `Basic`. */
export function answerToken({ headers, body }: Call, { keys, habits }: World): Reply {
  const [id, secret] = basic(String(headers.authorization));
  if (!keys.hasClient(id, secret) || body.client_id !== id) return refusal(401, 'invalid_client');
  if (body.grant_type === 'client_credentials') return { status: 200, body: accessToken(keys, habits) };
  if (body.grant_type !== 'refresh_token') return refusal(400, 'unsupported_grant_type');
  const next = keys.useRefreshToken(String(body.refresh_token));
  if (next === undefined) return refusal(400, 'invalid_grant');
  return { status: 200, body: { ...accessToken(keys, habits, true), refresh_token: next } };
}

/** Refuses a request without a valid token or without one of the headers that Reapit requires. */
export function checkHeaders(call: Call, keys: Keys): void {
  const token = bearer(call);
  const customer = call.headers['reapit-customer'];
  check(keys.hasAccessToken(token), 401, 'The token is not valid.');
  check(call.headers['api-version'] === '2020-01-31', 400, 'No such api-version.');
  const isNamed = customer === keys.account || (customer === undefined && keys.isOfUser(token));
  check(isNamed, 403, 'No such reapit-customer.');
}

/** The body that Reapit's documentation shows. */
export function described(statusCode: number, description: string): Reply {
  const dateTime = new Date().toISOString();
  const [field] = description.split(' ');
  const errors = statusCode === 422 ? [{ field, message: description }] : [];
  return { status: statusCode, body: { statusCode, dateTime, description, errors } };
}

function refusal(status: number, error: string): Reply {
  return { status, body: { error } };
}

function basic(authorization: string): string[] {
  const [, encoded = ''] = /^Basic (.+)$/.exec(authorization) ?? [];
  return Buffer.from(encoded, 'base64').toString().split(':');
}
