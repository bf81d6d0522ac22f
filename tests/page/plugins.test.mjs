// Tools and functions as forms have them, and what answers show of them.
import assert from 'node:assert/strict';
import test from 'node:test';

import { STARTS, fieldsOf, idFrom, indented, lineAt, lineOf, readRows, readValue, sentenceOf, shownValue } from '../../src/open_webui/static/page/js/plugins.js';
import { reduce, segments } from '../../src/open_webui/static/page/js/stream.js';
import { ask } from '../../src/open_webui/static/page/js/turns.js';

test('ids are made of names', () => {
  for (const [name, id] of [['Weather of the tests', 'weather_of_the_tests'], ['Über-Tool 2!', 'uber_tool_2'], ['  ', ''], ['天気', '']]) assert.equal(idFrom(name), id);
  assert.equal(idFrom('a'.repeat(300)).length, 100);
});

test('tab moves the text, and shift with tab moves it back', () => {
  assert.deepEqual(indented('ab', 1, 1), { text: 'a    b', start: 5, end: 5 });
  assert.deepEqual(indented('a\nb\nc', 2, 5), { text: 'a\n    b\n    c', start: 6, end: 13 });
  assert.deepEqual(indented('a\n    b\n  c', 4, 11, true), { text: 'a\nb\nc', start: 2, end: 5 });
  assert.deepEqual(indented('x', 0, 0, true), { text: 'x', start: 0, end: 0 });
});

test('a line of a text is found', () => {
  assert.deepEqual(lineAt('one\ntwo\n', 2), [4, 7]);
  assert.deepEqual(lineAt('one', 9), [4, 4]);
  assert.deepEqual([{ line: 3, message: 'm' }, { line: 0, message: 'No Python (line 2).' }, { line: 0, message: 'm' }].map(lineOf), [3, 2, 0]);
  assert.deepEqual([sentenceOf({ line: 3, message: 'm' }), sentenceOf({ line: 0, message: 'm' })], ['Line 3: m', 'm']);
});

test('an export is read, and what is none is a sentence', () => {
  const row = { id: 'sky', name: 'Sky', content: 'x', meta: { description: 'd', manifest: {} } };
  assert.deepEqual(readRows(JSON.stringify([{ ...row, user_id: 'u' }])), [row]);
  assert.deepEqual(readRows(JSON.stringify({ tool: { name: 'My sky', content: 'x' } })), [{ id: 'my_sky', name: 'My sky', content: 'x', meta: { description: '' } }]);
  assert.throws(() => readRows('{'), /no JSON/);
  for (const bad of ['[]', '[1]', 'null', '{"name": "x"}', '[{"name": "x", "content": 7}]']) assert.throws(() => readRows(bad), /no tools or functions/, bad);
});

const SCHEMA = {
  $defs: { Unit: { enum: ['C', 'F'], type: 'string' } },
  required: ['city'],
  properties: {
    city: { type: 'string', title: 'City' },
    api_key: { type: 'string', default: '' },
    limit: { anyOf: [{ type: 'integer' }, { type: 'null' }], default: 5, description: 'a limit' },
    polite: { type: 'boolean', default: true },
    unit: { $ref: '#/$defs/Unit', default: 'C' },
    hosts: { type: 'array', default: [] },
    odd: null,
  },
};
const field = (name) => fieldsOf(SCHEMA).find((each) => each.name === name);

test('a schema is a form', () => {
  assert.deepEqual(fieldsOf(SCHEMA).map(({ name, kind }) => [name, kind]), [['city', 'text'], ['api_key', 'text'], ['limit', 'integer'], ['polite', 'switch'], ['unit', 'choice'], ['hosts', 'json'], ['odd', 'json']]);
  assert.equal(field('api_key').secret, true);
  assert.equal(field('city').secret, false);
  assert.deepEqual(field('unit').choices, ['C', 'F']);
  for (const none of [null, {}, { properties: null }]) assert.deepEqual(fieldsOf(none), []);
});

test('what is typed is a value, nothing, or a sentence', () => {
  assert.equal(readValue(field('limit'), ' 7 '), 7);
  assert.equal(readValue(field('limit'), ''), undefined);
  assert.equal(readValue(field('polite'), false), false);
  assert.equal(readValue(field('unit'), 'F'), 'F');
  assert.equal(readValue(field('unit'), ''), undefined);
  assert.deepEqual(readValue(field('hosts'), '["a"]'), ['a']);
  assert.equal(shownValue(field('hosts'), ['a']), '[\n  "a"\n]');
  assert.throws(() => readValue(field('city'), ' '), /“City” is needed/);
  assert.throws(() => readValue(field('limit'), '7.5'), /whole number/);
  assert.throws(() => readValue(field('limit'), 'many'), /whole number/);
  assert.throws(() => readValue(field('hosts'), 'a, b'), /should be JSON/);
});

test('a question names the tools, skills and filters that were chosen', () => {
  const context = { user: { id: 'u', name: 'U' }, model: { id: 'm' }, now: new Date(0), params: {}, toolIds: ['sky'], filterIds: ['loud'], skillIds: ['baking'] };
  const { body } = ask(context, { messages: {}, currentId: null }, null, 'Hi');
  assert.deepEqual([body.tool_ids, body.filter_ids, body.skill_ids], [['sky'], ['loud'], ['baking']]);
  const { body: plain } = ask({ ...context, toolIds: undefined, filterIds: [], skillIds: [] }, { messages: {}, currentId: null }, null, 'Hi');
  assert.deepEqual([plain.tool_ids, 'filter_ids' in plain, 'skill_ids' in plain], [[], false, false]);
});

test('a call tells its state, its files and what it shows', () => {
  const call = { type: 'function_call', id: 'c', call_id: 'c', name: 'weather', arguments: '{}' };
  const result = { type: 'function_call_output', id: 'o', call_id: 'c', output: [{ type: 'input_text', text: '20' }], embeds: ['<p>20</p>'], files: [{ type: 'image', url: '/x.png' }] };
  const message = (output, rest = {}) => segments({ role: 'assistant', content: '', done: false, output, ...rest })[0];
  assert.deepEqual([message([call]).running, message([call]).ended], [true, false]);
  assert.deepEqual([message([call], { done: true }).running, message([call], { error: { content: 'x' } }).running], [false, false]);
  const { ended, output, embeds, files } = message([call, result]);
  assert.deepEqual([ended, output, embeds, files], [true, '20', ['<p>20</p>'], result.files]);
  for (const odd of [7, 'x', null, { a: 1 }]) assert.deepEqual(message([call, { ...result, embeds: odd, files: odd }]).embeds, []);
});

test('embeds are added to, or take the place of those before', () => {
  const one = reduce({ role: 'assistant' }, 'embeds', { embeds: ['a'] });
  assert.deepEqual(reduce(one, 'embeds', { embeds: ['b'] }).embeds, ['a', 'b']);
  assert.deepEqual(reduce(one, 'embeds', { embeds: ['b'], replace: true }).embeds, ['b']);
  assert.deepEqual(reduce(one, 'embeds', { embeds: 7 }).embeds, ['a']);
});

test('what one begins with is of the kind', () => {
  assert.match(STARTS.tools, /^class Tools:/m);
  assert.match(STARTS.functions, /^class Filter:/m);
});
