import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorText, isRunning, plainText, reduce, segments, version } from '../../src/open_webui/static/page/js/stream.js';

const start = () => ({ id: 'a', role: 'assistant', content: '', done: false });
const delta = (text, extra = {}) => ({ type: 'response.output_text.delta', item_id: 'm', output_index: 0, content_index: 0, delta: text, ...extra });
const fold = (message, ...frames) => frames.reduce((state, [type, data]) => reduce(state, type, data), message);
const live = (...datas) => datas.map((data) => ['response:completion', data]);

test('text deltas build one text', () => {
  const message = fold(start(), ...live({ choices: [{ delta: { role: 'assistant', content: '' } }] }, delta('Hel'), delta('lo')));
  assert.equal(plainText(message), 'Hello');
  assert.equal(isRunning(message), true);
});

test('the given message is never changed', () => {
  const message = Object.freeze({ ...start(), output: Object.freeze([]) });
  fold(message, ...live(delta('x'), delta('y')));
  assert.deepEqual(message.output, []);
});

test('a delta that the message already contains is dropped, the next one counts', () => {
  const loaded = { ...start(), output: [{ type: 'message', id: 'm', content: [{ type: 'output_text', text: 'Hello' }] }], meta: { sequence_number: 5 } };
  const message = fold(loaded, ...live(delta('lo', { sequence_number: 5 }), delta(' you', { sequence_number: 9 }), delta('Hel', { sequence_number: 3 })));
  assert.equal(plainText(message), 'Hello you');
  assert.equal(version(message), 9);
});

test('a reload at every point of a stream loses and doubles nothing', () => {
  const words = ['one ', 'two ', 'three ', 'four ', 'five'];
  const frames = words.map((word, index) => delta(word, { sequence_number: index + 1 }));
  for (let at = 0; at <= frames.length; at += 1) {
    const seen = fold(start(), ...live(...frames.slice(0, at)));
    const stored = { ...seen, heard: undefined, meta: { sequence_number: at } };
    const replayed = fold(stored, ...live(...frames));
    assert.equal(plainText(replayed), words.join(''));
  }
});

test('frames of one batch share a number and all count', () => {
  const done = { type: 'response.output_item.done', output_index: 0, item: { type: 'reasoning', id: 'r', content: [{ text: 'Hm.' }] }, sequence_number: 4 };
  const message = fold(start(), ...live(done, delta('Yes', { output_index: 1, sequence_number: 4 })));
  assert.deepEqual(segments(message).map((segment) => segment.text), ['Hm.', 'Yes']);
});

test('a continued answer counts from the beginning again', () => {
  const output = [{ type: 'message', id: 'm', content: [{ type: 'output_text', text: 'One.' }] }];
  let message = fold({ ...start(), meta: { sequence_number: 40, task_id: 't' } }, ['chat:completion', { done: true, output }]);
  assert.deepEqual(message.meta, { task_id: 't' });
  message = fold({ ...message, error: { content: 'x' } }, ...live(delta(' Two', { sequence_number: 1 })));
  assert.equal(plainText(message), 'One. Two');
  assert.equal(isRunning(message), true);
});

test('the first raw chunk says nothing of its own', () => {
  assert.equal(plainText(fold(start(), ...live({ choices: [{ delta: { content: '<' } }] }, delta('<b')))), '<b');
});

test('reasoning, a tool call and text keep their order', () => {
  const message = fold(
    start(),
    ...live(
      { type: 'response.output_item.added', output_index: 0, item: { type: 'reasoning', id: 'r', status: 'in_progress', content: [] } },
      { type: 'response.reasoning_text.delta', item_id: 'r', output_index: 0, content_index: 0, delta: 'Hm.' },
      { type: 'response.output_item.done', output_index: 0, item: { type: 'reasoning', id: 'r', status: 'completed', content: [{ text: 'Hm.' }], started_at: 1, ended_at: 4 } },
      { type: 'response.output_item.added', output_index: 1, item: { type: 'function_call', id: 'c', call_id: 'c', name: 'add', arguments: '' } },
      { type: 'response.function_call_arguments.delta', item_id: 'c', output_index: 1, delta: '{"a":' },
      { type: 'response.function_call_arguments.delta', item_id: 'c', output_index: 1, delta: '2}' },
      { type: 'response.output_item.done', output_index: 2, item: { type: 'function_call_output', id: 'o', call_id: 'c', output: [{ text: '4' }] } },
      delta('Four.', { output_index: 3 }),
    ),
  );
  const [thought, call, text] = segments(message);
  assert.deepEqual([thought.kind, thought.text, thought.seconds, thought.running], ['reasoning', 'Hm.', 3, false]);
  assert.deepEqual([call.kind, call.name, call.input, call.output], ['call', 'add', '{"a":2}', '4']);
  assert.equal(text.text, 'Four.');
});

test('the end replaces what was streamed', () => {
  const output = [{ type: 'message', id: 'm', content: [{ type: 'output_text', text: 'Whole.' }] }];
  const message = fold(start(), ...live(delta('Who')), ['chat:completion', { done: true, output, usage: { total_tokens: 3 } }]);
  assert.equal(plainText(message), 'Whole.');
  assert.equal(message.usage.total_tokens, 3);
  assert.equal(isRunning(message), false);
});

test('a finish reason alone changes no text', () => {
  const message = fold(start(), ...live(delta('A')), ['chat:completion', { choices: [{ delta: {}, finish_reason: 'stop' }] }], ['chat:completion', { usage: { total_tokens: 1 } }]);
  assert.equal(plainText(message), 'A');
  assert.equal(message.done, false);
});

test('an answer that was not streamed comes whole', () => {
  const message = fold(start(), ['chat:completion', { choices: [{ message: { content: 'All at once.' } }] }]);
  assert.equal(plainText(message), 'All at once.');
});

test('a stop keeps the text; its second frame has no data', () => {
  const output = [{ type: 'message', id: 'm', status: 'incomplete', content: [{ text: 'Ha' }] }];
  const message = fold(start(), ...live(delta('Ha')), ['chat:tasks:cancel', { output }], ['chat:tasks:cancel', undefined]);
  assert.equal(plainText(message), 'Ha');
  assert.equal(message.done, true);
});

test('an error ends the answer and keeps the partial text', () => {
  const message = fold(start(), ...live(delta('Par')), ['chat:message:error', { error: { content: 'upstream exploded' }, done: true }]);
  assert.equal(plainText(message), 'Par');
  assert.equal(errorText(message.error), 'upstream exploded');
  assert.equal(isRunning(message), false);
});

test('errors of any shape become a sentence', () => {
  assert.equal(errorText({ content: { error: { message: 'deep' } } }), 'deep');
  assert.equal(errorText({ message: 'flat' }), 'flat');
  assert.equal(errorText('text'), 'text');
  assert.equal(errorText(null), '');
  assert.equal(errorText({ content: { odd: 1 } }), '{"odd":1}');
});

test('continued text is a second part of the same item', () => {
  const stored = { ...start(), output: [{ type: 'message', id: 'm', content: [{ type: 'output_text', text: 'One.' }] }] };
  const message = fold(stored, ...live(delta(' Two', { content_index: 1 }), delta('!', { content_index: 1 })));
  assert.equal(plainText(message), 'One. Two!');
});

test('messages, replacements and sources of tools are folded in', () => {
  let message = fold(start(), ['message', { content: 'a' }], ['chat:message:delta', { content: 'b' }]);
  assert.equal(plainText(message), 'ab');
  message = fold(message, ...live(delta('c')), ['message', { content: 'd' }]);
  assert.equal(plainText(message), 'cd');
  message = fold(message, ['replace', { content: 'new' }], ['source', { source: { name: 's' } }], ['status', { description: 'x', done: true }]);
  assert.equal(plainText(message), 'new');
  assert.equal(message.sources.length, 1);
  assert.equal(message.statusHistory.length, 1);
});

test('code that stood in a text is a call with its output', () => {
  const item = { type: 'open_webui:code_interpreter', id: 'ci', status: 'in_progress', code: 'print(1)', output: null };
  const before = fold(start(), ...live({ type: 'response.output_item.added', output_index: 0, item }));
  assert.deepEqual(segments(before).map(({ kind, name, input, running }) => [kind, name, input, running]), [['call', 'execute_code', 'print(1)', true]]);
  const after = fold(before, ...live({ type: 'response.output_item.done', output_index: 0, item: { ...item, status: 'completed', output: { stdout: '1' } } }));
  assert.deepEqual(segments(after).map(({ output, running, ended }) => [output, running, ended]), [['{"stdout":"1"}', false, true]]);
});

test('unknown, empty and wrong frames change nothing or do no harm', () => {
  const message = start();
  assert.equal(reduce(message, 'something:new', { a: 1 }), message);
  assert.equal(reduce(message, 'response:completion', undefined), message);
  assert.equal(reduce(message, 'response:completion', { type: 'response.unknown' }), message);
  assert.equal(plainText(fold(message, ...live(delta(undefined), delta('x', { content_index: 99 }), delta('y', { output_index: -4, item_id: null })))), 'x\n\ny');
  assert.deepEqual(segments({ output: [null, { type: 'odd' }], content: null }), []);
  assert.deepEqual(segments({ output: 'text', content: 'said' }).map((segment) => segment.text), ['said']);
});

test('content stands when the output has no text of its own', () => {
  assert.equal(plainText({ content: 'edited', output: [] }), 'edited');
  assert.equal(plainText({ content: [{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }] }), 'ab');
});

test('an interrupted answer is not running', () => {
  assert.equal(isRunning({ role: 'assistant', done: false, meta: { interrupted: true } }), false);
  assert.equal(isRunning({ role: 'user' }), false);
  assert.equal(isRunning(undefined), false);
});
