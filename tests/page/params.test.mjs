// Parameters: what is typed becomes what the server takes, or a sentence.
import assert from 'node:assert/strict';
import test from 'node:test';

import { anySet, layered } from '../../src/open_webui/static/page/js/own.js';
import { FIELDS, read, shown } from '../../src/open_webui/static/page/js/params.js';

const field = (name) => FIELDS.find((each) => each.name === name);

test('good values', () => {
  assert.equal(read(field('temperature'), ' 0.7 '), 0.7);
  assert.equal(read(field('temperature'), '0'), 0);
  assert.equal(read(field('frequency_penalty'), '-1e-1'), -0.1);
  assert.equal(read(field('seed'), '42'), 42);
  assert.deepEqual(read(field('stop'), 'END, \\n ,, x'), ['END', '\\n', 'x']);
  assert.equal(read(field('reasoning_effort'), 'low'), 'low');
  for (const each of FIELDS) assert.equal(read(each, '  '), null);
  assert.equal(read(field('stop'), ' , '), null);
});

test('bad values are a sentence with the name of the field', () => {
  for (const [name, text] of [['temperature', 'warm'], ['temperature', '2.1'], ['temperature', '-1'], ['temperature', '0,7'], ['temperature', '0x1'], ['temperature', 'NaN'], ['top_p', '1.01'], ['max_tokens', '0'], ['max_tokens', '1e9'], ['seed', '1e400']])
    assert.throws(() => read(field(name), text), new RegExp(`“${field(name).label}” should be a number from `), text);
  assert.throws(() => read(field('max_tokens'), '1.5'), /whole number from 1 to 1,000,000/);
  assert.throws(() => read(field('stop'), 'x,'.repeat(65)), /at most 64/);
  assert.throws(() => read(field('reasoning_effort'), 'huge'), /one of minimal, low/);
});

test('what is shown is read as the same', () => {
  for (const [name, value] of [['temperature', 0], ['stop', ['a', '\\n']], ['seed', 7]]) assert.deepEqual(read(field(name), shown(value)), value);
  assert.equal(shown(['a\n', 'b\t']), 'a\\n, b\\t');
  assert.equal(shown(null), '');
});

test('the chat counts more than the person, and what is not set counts nothing', () => {
  assert.deepEqual(layered({ temperature: 1, seed: 3, system: 'own' }, { temperature: 0, seed: null, system: '' }), { temperature: 0, seed: 3, system: 'own' });
  assert.deepEqual(layered(null, undefined), {});
  assert.equal(anySet({ a: null, b: '' }), false);
  assert.equal(anySet({ a: 0 }), true);
});
