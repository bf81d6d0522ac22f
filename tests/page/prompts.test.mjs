// Prompts as texts: their variables, what is filled in, what a command means, and files of them.
import assert from 'node:assert/strict';
import test from 'node:test';

import { carried, commandFrom, fieldsOf, filled, promptsIn, ranked, tagsFrom, variablesOf } from '../../src/open_webui/static/page/js/prompts.js';

const one = (text) => variablesOf(text)[0];

test('a bare variable is a text', () => {
  assert.deepEqual(variablesOf('About {{topic}} and {{ topic }}.'), [{ name: 'topic', label: 'topic', kind: 'text', needed: false, fallback: '', hint: '', choices: [], least: null, most: null, step: null }]);
  assert.equal(one('{{first_name}}').label, 'first name');
  assert.deepEqual(variablesOf('{{Thema}} {{ürün adı}} {{天気}} {{a.b-c 2}}').map(({ name }) => name), ['Thema', 'ürün adı', '天気', 'a.b-c 2']);
});

test('what is no variable is a text', () => {
  for (const text of ['', '{topic}', '{{}}', '{{ }}', '{{#if x}}', '{{/if}}', '{{a{b}}', '{{-a}}', `{{${'x'.repeat(101)}}}`, '{{a\nb!}}']) assert.deepEqual(variablesOf(text), [], text);
});

test('a variable says what it takes', () => {
  const tone = one('{{tone | select:options=["short: two words","long","long"]:default="long":required}}');
  assert.deepEqual([tone.kind, tone.choices, tone.fallback, tone.needed], ['select', ['short: two words', 'long'], 'long', true]);
  assert.deepEqual(one('{{tone|select:options=short, long}}').choices, ['short', 'long']);
  const many = one('{{many | number:min=1:max=10:step=0.5:default=3:placeholder="how many?"}}');
  assert.deepEqual([many.kind, many.least, many.most, many.step, many.fallback, many.hint], ['number', 1, 10, 0.5, '3', 'how many?']);
  assert.deepEqual([one('{{on | checkbox:default=true:label="Is it on?"}}').fallback, one('{{on | checkbox:default}}').fallback, one('{{on | checkbox:label="Is it on?"}}').label], ['true', 'true', 'Is it on?']);
  assert.equal(one('{{url | url:default="https://example.com:8080/a"}}').fallback, 'https://example.com:8080/a');
  for (const kind of ['textarea', 'range', 'date', 'datetime-local', 'month', 'time', 'email', 'tel', 'color']) assert.equal(one(`{{x | ${kind}}}`).kind, kind);
});

test('odd variables are texts, too', () => {
  for (const text of ['{{x | nonsense}}', '{{x |}}', '{{x | select}}', '{{x | select:options=[]}}', '{{x | select:options=[1,}}', '{{x | :::}}', '{{x | text:=3}}', '{{x | map}}']) {
    const { name, fallback } = one(text);
    assert.deepEqual([name, fallback], ['x', ''], text);
  }
  assert.equal(one('{{x | select:options=[1,}}').kind, 'select');
  assert.deepEqual([one('{{x | number:min=low:max=[]}}').least, one('{{x | number:min=low:max=[]}}').most], [null, null]);
  assert.deepEqual(one('{{x | select:options=[null,["b"],2,"a",true]}}').choices, ['2', 'a', 'true']);
});

test('the mention that says more counts, in the place of the first', () => {
  const found = variablesOf('{{a}} {{b}} {{a | number}} {{a | date}}');
  assert.deepEqual(found.map(({ name, kind }) => [name, kind]), [['a', 'number'], ['b', 'text']]);
  assert.deepEqual(variablesOf('{{USER_NAME}} {{a}}', new Set(['USER_NAME'])).map(({ name }) => name), ['a']);
  assert.equal(variablesOf(Array.from({ length: 80 }, (_, n) => `{{v${n}}}`).join('')).length, 50);
});

test('values take the places of variables, once', () => {
  assert.equal(filled('{{a}}, {{ a | number:min=1 }} and {{b}}', { a: '$& {{b}}', b: '1' }), '$& {{b}}, $& {{b}} and 1');
  assert.equal(filled('{{a}} {{constructor}} {{#if}}', {}), '{{a}} {{constructor}} {{#if}}');
  assert.equal(filled('{{a}}!', { a: '' }), '!');
});

test('a long text is read in no time', () => {
  const text = `${'{{'.repeat(50_000)}${'{{a | select:options=["'.repeat(2_000)}`;
  const began = performance.now();
  assert.deepEqual(variablesOf(text), []);
  filled(text, { a: 'b' });
  assert.ok(performance.now() - began < 2_000);
});

test('arguments of a server are fields', () => {
  assert.deepEqual(fieldsOf({ arguments: [{ name: 'city', description: 'Which?', required: true }, { name: 'day', title: 'Day' }] }).map(({ name, label, kind, needed, about }) => [name, label, kind, needed, about]), [['city', 'city', 'text', true, 'Which?'], ['day', 'Day', 'text', false, '']]);
  assert.deepEqual([fieldsOf({}), fieldsOf({ arguments: null }), fieldsOf({ variables: [1] })], [[], [], [1]]);
});

test('the likely prompts come first', () => {
  const items = [{ command: 'resume', title: 'Write a résumé' }, { command: 'sum', title: 'Summarise' }, { command: 'x', title: 'Make a sum' }, { command: 'summary', title: null }, { command: 'other', title: 'Other' }];
  const commands = (text) => ranked(items, text).map(({ command }) => command);
  assert.deepEqual(commands('SUM'), ['sum', 'summary', 'x', 'resume']);
  assert.deepEqual(commands(''), ['resume', 'sum', 'x', 'summary', 'other']);
  assert.deepEqual(commands('ume'), ['resume']);
  assert.deepEqual(commands('zzz'), []);
  assert.equal(ranked(Array.from({ length: 50 }, (_, n) => ({ command: `c${n}`, title: '' })), 'c').length, 20);
});

test('names are commands, and texts are tags', () => {
  for (const [name, command] of [['Sum up, please!', 'sum-up-please'], ['Über', 'u-ber'], ['  ', ''], ['天気', '']]) assert.equal(commandFrom(name), command);
  assert.deepEqual(tagsFrom(' a, b ,,a'), ['a', 'b']);
});

test('a file of prompts is read, and what is none is a sentence', () => {
  const row = { command: 'sum', name: 'Sum', content: 'c', data: {}, meta: {}, tags: ['a'] };
  assert.deepEqual(promptsIn(JSON.stringify([{ ...row, id: 'x', user_id: 'u', access_grants: [] }])), [row]);
  assert.deepEqual(promptsIn('{"command": "/sum", "title": "Sum", "content": "c"}'), [{ ...row, tags: [] }]);
  assert.deepEqual(carried(row), row);
  assert.throws(() => promptsIn('{'), /no JSON/);
  for (const bad of ['[]', 'null', '[1]', '{}', '{"command": "a", "name": "b"}', '{"command": "/", "name": "b", "content": "c"}', '[{"command": 3, "name": "a", "content": "c"}]']) assert.throws(() => promptsIn(bad), /no prompts/, bad);
});
