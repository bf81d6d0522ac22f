// What MCP servers ask people, as forms; and calls of one's own tool servers, as requests.
import assert from 'node:assert/strict';
import test from 'node:test';

import { addressOf, fieldsOf, problemOf, valueOf } from '../../src/open_webui/static/page/js/elicitation.js';
import * as own from '../../src/open_webui/static/page/js/own-tools.js';

const SCHEMA = {
  type: 'object',
  required: ['name', 'many'],
  properties: {
    name: { type: 'string', title: 'Your name', description: 'As in the passport', minLength: 2, default: 'Ann' },
    mail: { type: 'string', format: 'email' },
    at: { type: 'string', format: 'date-time' },
    age: { type: 'integer', minimum: 0, maximum: 130, default: 30 },
    score: { type: 'number' },
    on: { type: 'boolean', default: true },
    plain: { type: 'string', enum: ['a', 'b'], enumNames: ['First'], default: 'b' },
    titled: { type: 'string', oneOf: [{ const: 'x', title: 'The X' }, { const: 'y' }, null] },
    many: { type: 'array', items: { anyOf: [{ const: 1, title: 'One' }, { const: 2, title: 'Two' }] }, maxItems: 1 },
    odd: null,
    odder: { format: 'constructor' },
  },
};

test('what is needed is shown, however much is asked, and no list is endless', () => {
  const names = Array.from({ length: 90 }, (_, n) => `f${n}`);
  const fields = fieldsOf({ properties: Object.fromEntries(names.map((name) => [name, { type: 'string' }])), required: ['f80', 'f89'] });
  assert.equal(fields.length, 50);
  assert.deepEqual(fields.filter(({ needed }) => needed).map(({ name }) => name), ['f80', 'f89']);
  const [{ choices, label, hint }] = fieldsOf({ properties: { x: { enum: Array.from({ length: 100_000 }, (_, n) => n), title: 'a'.repeat(1e6), description: 'b'.repeat(1e6) } } });
  assert.deepEqual([choices.length, label.length, hint.length], [1000, 2000, 2000]);
});

test('a time that no clock knows is told, and stops nothing', () => {
  const field = fieldsOf({ properties: { at: { type: 'string', format: 'date-time' } } })[0];
  assert.equal(valueOf(field, '12345-01-01T00:00'), null);
  assert.match(problemOf(field, null), /no time/);
  assert.equal(problemOf(field, valueOf(field, '2026-01-01T00:00')), null);
});

test('a schema becomes fields', () => {
  const fields = Object.fromEntries(fieldsOf(SCHEMA).map((field) => [field.name, field]));
  assert.deepEqual(Object.values(fields).map(({ kind }) => kind), ['text', 'email', 'datetime-local', 'integer', 'number', 'switch', 'choice', 'choice', 'choices', 'text', 'text']);
  assert.deepEqual([fields.name.label, fields.name.hint, fields.name.needed, fields.name.least, fields.name.fallback], ['Your name', 'As in the passport', true, 2, 'Ann']);
  assert.deepEqual([fields.age.least, fields.age.most, fields.mail.needed], [0, 130, false]);
  assert.deepEqual(fields.plain.choices, [{ value: 'a', label: 'First' }, { value: 'b', label: 'b' }]);
  assert.deepEqual(fields.titled.choices, [{ value: 'x', label: 'The X' }, { value: 'y', label: 'y' }]);
  assert.deepEqual(fields.many.choices.map(({ value }) => value), [1, 2]);
  for (const bad of [undefined, null, 'text', [], { properties: [] }, { properties: 'x', required: 5 }]) assert.deepEqual(fieldsOf(bad), []);
  const crowd = Object.fromEntries(Array.from({ length: 80 }, (_, n) => [`f${n}`, {}]));
  assert.equal(fieldsOf({ properties: crowd }).length, 50);
});

test('what was filled in has the kind that the server asked for', () => {
  const [name, , at, age, score, on, plain, , many] = fieldsOf(SCHEMA);
  assert.deepEqual([valueOf(name, 'Bo'), valueOf(name, ''), valueOf(age, '7'), valueOf(score, '1.5'), valueOf(on, false)], ['Bo', undefined, 7, 1.5, false]);
  assert.deepEqual([valueOf(plain, '1'), valueOf(plain, ''), valueOf(many, [1])], ['b', undefined, [2]]);
  assert.equal(valueOf(at, '2026-01-02T03:04'), new Date('2026-01-02T03:04').toISOString());
  assert.equal(problemOf(many, []), 'many: choose at least 1.');
  assert.equal(problemOf(many, [1, 2]), 'many: choose at most 1.');
  assert.equal(problemOf(many, [1]), null);
  const free = { ...many, needed: false, least: 1 };
  assert.deepEqual([valueOf(free, []), problemOf(free, valueOf(free, []))], [undefined, null]);
  assert.equal(problemOf(name, ''), null);
});

test('only addresses of the web are opened', () => {
  assert.equal(addressOf('https://a.example/x').host, 'a.example');
  for (const bad of ['javascript:alert(1)', 'data:text/html,x', 'file:///etc/passwd', 'x', null, undefined, 5]) assert.equal(addressOf(bad), null, String(bad));
});

const DOCUMENT = {
  openapi: '3.1.0',
  paths: {
    '/items/{id}': {
      parameters: [{ $ref: '#/components/parameters/id' }],
      get: { operationId: 'get item', parameters: [{ name: 'tags', in: 'query' }, { name: 'flat', in: 'query', explode: false }, { name: 'X-Secret', in: 'header' }] },
      put: { requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/Item' } } } } },
    },
    '/list': { post: { operationId: 'list', requestBody: { content: { 'application/json': { schema: { type: 'array' } } } } } },
    '/loop': { $ref: '#/paths/~1loop' },
    bad: { get: {} },
  },
  components: { parameters: { id: { name: 'id', in: 'path' } }, schemas: { Item: { type: 'object', properties: { a: {} } } } },
};
const SERVER = { url: 'http://localhost:1', key: 'k' };

test('a call becomes a request', () => {
  assert.deepEqual(own.operationsOf(own.checked(DOCUMENT)).map(({ name }) => name), ['get_item', 'put__items_id', 'list']);
  const got = own.requestOf(SERVER, DOCUMENT, 'get_item', { id: 'a/../b?', tags: ['x y', 2], flat: [1, 2], 'X-Secret': 's' });
  assert.deepEqual(got, { method: 'GET', url: 'http://localhost:1/items/a%2F..%2Fb%3F?tags=x%20y&tags=2&flat=1%2C2', headers: { accept: 'application/json', authorization: 'Bearer k' }, body: undefined });
  const put = own.requestOf({ url: 'http://localhost:1' }, DOCUMENT, 'put__items_id', { id: 7, a: [1] });
  assert.deepEqual([put.method, put.url, put.body, put.headers.authorization], ['PUT', 'http://localhost:1/items/7', '{"a":[1]}', undefined]);
  assert.equal(own.requestOf(SERVER, DOCUMENT, 'list', { body: [1] }).body, '[1]');
  for (const id of ['..', '.', '']) assert.throws(() => own.requestOf(SERVER, DOCUMENT, 'get_item', { id }), /part of the address/);
  assert.throws(() => own.requestOf(SERVER, DOCUMENT, 'nothing', {}), /no operation/);
  for (const bad of [null, [], {}, { openapi: '2.0', paths: {} }, { openapi: '3.1.0' }]) assert.throws(() => own.checked(bad), /no OpenAPI/);
});

test('what a server answers is told', () => {
  assert.deepEqual([own.resultOf({ status: 200, text: '{"a": 1}' }), own.resultOf({ status: 200, text: 'hm' })], [{ a: 1 }, 'hm']);
  assert.match(own.resultOf({ status: 404, text: 'no' }).error, /status 404. no/);
  assert.equal(own.documentUrl({ url: 'http://a', path: '' }), 'http://a/openapi.json');
  assert.equal(own.documentUrl({ url: 'http://a', path: 'http://b/x.json' }), 'http://b/x.json');
  assert.deepEqual([' http://a/ ', 'https://u:p@a', 'ftp://a', 'x'].map(own.addressOf), ['http://a', null, null, null]);
});
