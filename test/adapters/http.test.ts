import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Answer, type Request, sender } from '../../examples/adapters/http.js';
import { CrmError } from '../../examples/crm.js';

/** Starts a server on loopback for one test; returns its URL. */
async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Sends one request to a server that answers with this. */
async function answered(
  status: number,
  body: string | object = '',
  { headers = {}, request = {} }: { headers?: Record<string, string>; request?: Partial<Request> } = {},
): Promise<Answer> {
  const url = await serve((_, response) => {
    response.writeHead(status, headers).end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  return sender({ url, timeoutMilliseconds: 20_000 })({ path: '/contacts', ...request });
}

function failure(attempt: Promise<unknown>): Promise<CrmError> {
  return attempt.then(
    () => Promise.reject(new Error('The attempt should have failed.')),
    (error) => (error instanceof CrmError ? error : Promise.reject(error)),
  );
}

const page = '<html><body>Ottoline Sprat is blocked</body></html>';

describe('a request', () => {
  test('goes to the path under the URL, with its query, headers and body', async () => {
    let received: Pick<IncomingMessage, 'url' | 'method' | 'headers'> & { body?: string } = { headers: {} };
    const url = await serve(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      received = { url: request.url, method: request.method, headers: request.headers, body };
      response.end('{"id": 1}');
    });
    const send = sender({
      url: `${url}/v1/`,
      timeoutMilliseconds: 20_000,
      headers: () => ({ api_key: 'k', 'x-one': 'all' }),
    });
    const query = { a: 1, b: null, c: undefined, d: false, e: 'x y&z' };
    const answer = await send({ path: '/contacts', query, headers: { 'x-one': 'this' } });
    expect(received).toMatchObject({ url: '/v1/contacts?a=1&d=false&e=x+y%26z', method: 'GET', body: '' });
    expect(received.headers).toMatchObject({ api_key: 'k', 'x-one': 'this' });
    expect(received.headers).not.toHaveProperty('content-type');
    expect(answer).toMatchObject({ status: 200, body: { id: 1 } });
    await send({ method: 'POST', path: '/contacts', body: { surname: 'Sprat' } });
    expect(received).toMatchObject({ body: '{"surname":"Sprat"}' });
    expect(received.headers['content-type']).toBe('application/json');
    await send({ method: 'POST', path: '/token', body: new URLSearchParams({ grant_type: 'x' }) });
    expect(received).toMatchObject({ body: 'grant_type=x' });
    expect(received.headers['content-type']).toMatch('application/x-www-form-urlencoded');
  });

  test('is not sent on to where a redirect leads, with the key', async () => {
    let keys = 0;
    const elsewhere = await serve((request, response) => {
      keys += request.headers.api_key === undefined ? 0 : 1;
      response.end('{}');
    });
    const attempt = answered(302, '', {
      headers: { location: elsewhere },
      request: { headers: { api_key: 'secret' } },
    });
    expect(await failure(attempt)).toMatchObject({ kind: 'provider', retryable: true, code: '302' });
    expect(keys).toBe(0);
  });

  test('with a header that HTTP does not allow is an error without the header', async () => {
    const url = await serve((_, response) => void response.end('{}'));
    const send = sender({ url, timeoutMilliseconds: 20_000 });
    const error = await failure(send({ path: '/', headers: { authorization: 'Bearer secret\nsecret' } }));
    expect(error).toMatchObject({ kind: 'auth', retryable: false });
    expect(`${error.message} ${error.stack} ${error.cause}`).not.toContain('secret');
  });
});

describe('an answer', () => {
  test.each([
    ['no answer', () => {}],
    [
      'half a body',
      (_: IncomingMessage, response: Parameters<RequestListener>[1]) => void response.write('{'),
    ],
  ])('that is late is a timeout: %s', async (_, answer: RequestListener) => {
    const url = await serve(answer);
    const sent = Date.now();
    const error = await failure(sender({ url, timeoutMilliseconds: 300 })({ path: '/' }));
    expect(error).toMatchObject({ kind: 'timeout', retryable: true });
    expect(Date.now() - sent).toBeGreaterThanOrEqual(290);
  });

  test.each<[string, RequestListener]>([
    ['before the answer', (request) => void request.socket.destroy()],
    [
      'in the middle of the body',
      (request, response) => {
        response.writeHead(200, { 'content-length': '100' });
        response.write('{"a":');
        setTimeout(() => request.socket.destroy(), 50);
      },
    ],
  ])('whose connection is cut %s is a network error', async (_, answer) => {
    const url = await serve(answer);
    const error = await failure(sender({ url, timeoutMilliseconds: 20_000 })({ path: '/' }));
    expect(error).toMatchObject({ kind: 'network', retryable: true });
  });

  test('from a server that cannot be reached is a network error', async () => {
    const error = await failure(
      sender({ url: 'http://127.0.0.1:1', timeoutMilliseconds: 20_000 })({ path: '/' }),
    );
    expect(error).toMatchObject({ kind: 'network', retryable: true });
  });

  test.each<[number, string, boolean]>([
    [301, 'provider', true],
    [400, 'validation', false],
    [401, 'auth', false],
    [403, 'permission', false],
    [404, 'not_found', false],
    [405, 'validation', false],
    [408, 'timeout', true],
    [409, 'conflict', false],
    [410, 'not_found', false],
    [412, 'conflict', true],
    [418, 'provider', false],
    [422, 'validation', false],
    [425, 'provider', true],
    [429, 'rate_limited', true],
    [500, 'provider', true],
    [503, 'provider', true],
  ])('of %d is an error of kind %s, retryable: %s', async (status, kind, retryable) => {
    expect(await failure(answered(status, {}))).toMatchObject({ kind, retryable, code: String(status) });
  });

  test('with a status that the request accepts is returned', async () => {
    const request = { accept: [404] };
    expect(await answered(404, { description: 'None.' }, { request })).toMatchObject({ status: 404 });
    expect(await answered(404, '', { request })).toMatchObject({ status: 404, body: null });
    expect(await answered(204)).toMatchObject({ status: 204, body: null });
  });

  test.each([200, 400, 403, 404])(
    'of %d that is a page of a gateway says nothing of a record',
    async (status) => {
      const error = await failure(answered(status, page, { request: { accept: [404] } }));
      expect(error).toMatchObject({ kind: 'provider', retryable: true, code: String(status) });
      expect(error.message).not.toContain('Ottoline');
    },
  );

  test.each([
    [401, 'auth'],
    [408, 'timeout'],
    [429, 'rate_limited'],
    [502, 'provider'],
  ])('of %d that is a page of a gateway is an error of kind %s', async (status, kind) => {
    expect(await failure(answered(status, page))).toMatchObject({ kind });
  });

  test.each<[string, string | undefined, number | undefined]>([
    ['seconds', '120', 120],
    ['a fraction', '0.5', 1],
    ['no time', '0', 0],
    ['a date by the clock of the CRM', 'Wed, 01 Jul 2026 10:01:30 GMT', 90],
    ['a date that has passed', 'Wed, 01 Jul 2026 09:59:00 GMT', 0],
    ['a date of the next century', 'Wed, 01 Jul 2126 10:00:00 GMT', 604_800],
    ['a word', 'later', undefined],
    ['a negative number', '-5', undefined],
    ['nothing', '', undefined],
    ['no header', undefined, undefined],
  ])('of 429 has Retry-After: %s', async (_, text, seconds) => {
    const headers = {
      date: 'Wed, 01 Jul 2026 10:00:00 GMT',
      ...(text === undefined ? {} : { 'retry-after': text }),
    };
    const error = await failure(answered(429, {}, { headers }));
    expect(error.retryAfterSeconds).toBe(seconds);
  });

  test('of 503 may have Retry-After, too', async () => {
    const error = await failure(answered(503, page, { headers: { 'retry-after': '7' } }));
    expect(error).toMatchObject({ kind: 'provider', retryAfterSeconds: 7 });
  });

  test('keeps the code of an error and the names of its fields, and nothing else that the CRM wrote', async () => {
    const description = 'Ottoline Sprat has no surname';
    const errors = [
      { field: 'surname', message: description },
      { field: 'email' },
      { field: 'Ottoline Sprat' },
      null,
    ];
    const error = await failure(answered(422, { statusCode: 422, description, errors }));
    expect(error.message).toBe('The CRM answered 422 about surname, email.');
    expect(JSON.stringify(error.toSyncError())).not.toContain('Ottoline');
    expect(await failure(answered(400, { code: 'E-17', message: description }))).toMatchObject({
      code: 'E-17',
    });
    expect(await failure(answered(400, { code: description }))).toMatchObject({ code: '400' });
    expect(await failure(answered(400, { errors: [{ code: 'bad_name' }] }))).toMatchObject({
      code: 'bad_name',
    });
  });

  test('has the time of the CRM, and is refused only where a missing one is needed', async () => {
    const headers = { date: 'Wed, 01 Jul 2026 10:00:00 GMT' };
    expect((await answered(200, {}, { headers })).date).toBe('2026-07-01T10:00:00.000000Z');
    const url = await serve((_, response) => {
      response.sendDate = false;
      response.end('{}');
    });
    const answer = await sender({ url, timeoutMilliseconds: 20_000 })({ path: '/' });
    expect(answer.status).toBe(200);
    expect(() => answer.date).toThrow(expect.objectContaining({ kind: 'provider', retryable: true }));
  });

  test('whose body shows an error in place of its status is refused', async () => {
    const url = await serve((_, response) => void response.end('{"statusCode": "error", "errorCode": 404}'));
    const send = sender({
      url,
      timeoutMilliseconds: 20_000,
      errorIn: (body) => (body as { errorCode: number }).errorCode,
    });
    expect(await failure(send({ path: '/' }))).toMatchObject({ kind: 'not_found' });
  });
});
